"""Reads the files of a folder, one after another, and prints a line of JSON about each: run as a process of its own.

Usage: python -m tests.fuzzing.read_files KIND FILE...
"""

import faulthandler
import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atoken.gaussian_files_atoken import load_ply, load_splat
from atoken.processing.media_reading_atoken import open_image, read_video
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.tokenizing.latent_files import iter_latents
from atoken_headers.latents import read_header

_SECONDS_PER_FILE = 20


def _image(path: Path) -> list[np.ndarray]:
    return [open_image(path).numpy()]


def _video(path: Path) -> list[np.ndarray]:
    return [read_video(path)[0].numpy()]


def _object(path: Path) -> list[np.ndarray]:
    mesh = read_mesh(path)
    return [mesh.vertices[mesh.faces], mesh.corner_colors]


def _gaussians(path: Path) -> list[np.ndarray]:
    gaussians = load_splat(path) if path.suffix == ".splat" else load_ply(path)
    return [gaussians.means.numpy(), gaussians.opacities.numpy()]


def _latents(path: Path) -> list[np.ndarray]:
    header = read_header(path)
    return [piece.float().numpy() for piece in iter_latents(path, header)]


READERS: dict[str, Callable[[Path], list[np.ndarray]]] = {
    "image": _image,
    "video": _video,
    "object": _object,
    "gaussians": _gaussians,
    "latents": _latents,
}


def outcome(kind: str, path: Path) -> dict[str, object]:
    """Reads a file and gives what came of it: a digest and the shape of what was read, or the error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            arrays = READERS[kind](path)
        # Whatever it is, it is looked at by the test.
        except Exception as error:
            return {"file": path.name, "error": type(error).__name__, "message": str(error)[:300]}
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    shape = list(arrays[0].shape)
    return {"file": path.name, "digest": digest, "shape": shape, "warnings": [str(each.message) for each in caught]}


def main() -> None:
    kind, *files = sys.argv[1:]
    faulthandler.enable()
    for file in files:
        # A reader that hangs ends the process, and the test finds which file had no line.
        faulthandler.dump_traceback_later(_SECONDS_PER_FILE, exit=True)
        print(json.dumps(outcome(kind, Path(file))), flush=True)
    print(json.dumps({"peak_kib": _peak_kib()}), flush=True)


def _peak_kib() -> int:
    """The peak of this process's own memory; that of getrusage begins with what the parent had."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
