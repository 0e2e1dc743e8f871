"""Peak memory of one command on folders of few and of many mixed files: it must not grow with their number.

    python benchmarks/mixed_folder.py --files 20 60

A folder holds photos, clips, animations and meshes of equal sizes, and every seventh file is damaged unless it is a
mesh. One file of ten is a mesh; only after two or three of these has the allocator all that it needs, so a folder
should hold several. Every folder is worked on by `atoken` in a process of its own, because a process's largest resident
size never shrinks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import write_json
from PIL import Image
from rich.console import Console
from rich.table import Table

from atoken.processing.media_reading_atoken import write_image, write_video

TOLERANCE = 0.05
SIDE, FRAMES = 192, 9
SUFFIXES = (".png", ".mp4", ".gif", ".jpg", ".png", ".mp4", ".gif", ".jpg", ".webp", ".obj")
# Prints the largest resident size after the command, in bytes; it keeps the exit code of the command.
_CHILD = """
import resource, sys
from atoken_app.main import main
try:
    main()
finally:
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}", file=sys.stderr)
"""


def write_mixed(folder: Path, count: int) -> int:
    """Writes `count` files of kinds that take turns, some of them damaged; returns how many are."""
    rng, damaged = np.random.default_rng(0), 0
    for index in range(count):
        # Smooth pictures, so that clips compress as real ones do.
        small = rng.integers(0, 256, (FRAMES, 6, 6, 3), np.uint8)
        frames = [np.asarray(Image.fromarray(each).resize((SIDE, SIDE))) for each in small]
        base = folder / f"{index:03}"
        path = base.with_suffix(SUFFIXES[index % len(SUFFIXES)])
        if path.suffix == ".mp4":
            write_video(path, np.stack(frames), 25)
        elif path.suffix == ".gif":
            stills = [Image.fromarray(each) for each in frames]
            stills[0].save(path, save_all=True, append_images=stills[1:], duration=40)
        elif path.suffix == ".obj":
            corners = [f"v {x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1)]
            path.write_text("\n".join([*corners, "f 1 3 2", "f 5 6 7", "f 1 5 3", "f 2 4 6", "f 1 2 5", "f 3 7 4", ""]))
        else:
            write_image(path, frames[0])
        if index % 7 == 3 and path.suffix != ".obj":
            path.write_bytes(path.read_bytes()[:200])
            damaged += 1
    return damaged


def measure(command: str, count: int, model: str | None) -> dict:
    """Runs the command on a folder of so many files and returns its peak memory and what came out."""
    with tempfile.TemporaryDirectory() as root:
        media = Path(root) / "media"
        media.mkdir()
        damaged = write_mixed(media, count)
        arguments = [command, str(media), "--json"]
        arguments += [] if command == "embed" else ["-o", str(Path(root) / "out")]
        arguments += [] if model is None else ["--model", model]
        process = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True)
    if process.returncode != 1:
        raise RuntimeError(f"exit code 1 was expected, as {damaged} files are damaged: {process.stderr[-1000:]}")
    answer = json.loads(process.stdout)
    if len(answer["failures"]) != damaged or len(answer["results"]) != count - damaged:
        raise RuntimeError(f"{damaged} of {count} files are damaged, got {answer['failures']}")
    peak = next(line for line in process.stderr.splitlines()[::-1] if line.startswith("peak "))
    return {"files": count, "damaged": damaged, "peak_bytes": int(peak.split()[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[20, 60], help="how many files the folders hold")
    parser.add_argument("--command", choices=["reconstruct", "encode", "embed"], default="reconstruct")
    parser.add_argument("--model", help="as for the command")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    results = [measure(arguments.command, count, arguments.model) for count in arguments.files]
    peaks = [result["peak_bytes"] for result in results]
    spread = max(peaks) / min(peaks) - 1
    table = Table("files", "damaged", "peak MiB", "of the first")
    for result in results:
        cells = result["files"], result["damaged"], result["peak_bytes"] >> 20
        table.add_row(*map(str, cells), f"{result['peak_bytes'] / peaks[0]:.3f}")
    Console().print(table)
    if arguments.json:
        protocol = {"side": SIDE, "frames": FRAMES, "command": arguments.command, "tolerance": TOLERANCE}
        results = {"folders": results, "spread": spread}
        write_json(arguments.json, "mixed_folder.py", torch.device("cpu"), protocol, results)
    if spread > TOLERANCE:
        sys.exit(f"peak memory differs by {spread:.1%}, more than {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
