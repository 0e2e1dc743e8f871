"""Sets of 3D objects (Table 8): meshes with colors, measured from the same cameras on black."""

from functools import partial
from pathlib import Path

from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.tokenizing.objects import COMPARED_SIZE, COMPARED_VIEWS

from ..interface import EvaluationSet, Sample
from .file_lists import checksum, existing, find_media, take

TOYS4K = "Toys4k is at https://github.com/rehg-lab/lowshot-shapebias/tree/main/toys4k; TRELLIS publishes its list"
TOYS4K_SIZE = 512
TEMPLATES = ("a 3D model of a {}.",)


def object_folder(folder: str, size: int = COMPARED_SIZE, limit: int | None = None) -> EvaluationSet:
    """
    Takes all meshes below a folder, compared in views of `size` pixels a side.

    Raises:
        FileNotFoundError: there are none.
    """
    root = Path(folder)
    files = take(find_media(root, "object", "object-folder"), None, limit, "object-folder")
    samples = [Sample(file, partial(read_mesh, root / file)) for file in files]
    protocol = _protocol(len(files), size, limit)
    return EvaluationSet(root.name, "object", samples, protocol, checksum(root, files), view_size=size)


def toys4k(folder: str, list_file: str, size: int = TOYS4K_SIZE, limit: int | None = None) -> EvaluationSet:
    """
    Takes TRELLIS's 3,229 assets of Toys4k: FOLDER/<class>/<name>/..., labeled by the class's folder.

    Args:
        list_file: text file with the path of one asset on each line, relative to the folder.
        size: pixels of a side of the views; the paper's Table 8 has 512.

    Raises:
        FileNotFoundError: no such file, or an asset is missing.
        ValueError: not 3,229 assets without a `limit`, or a path outside of a class's folder.
    """
    root = existing(folder, "toys4k", TOYS4K)
    listed = existing(list_file, "toys4k: list_file", TOYS4K).read_text(encoding="utf-8").splitlines()
    files = sorted(line.strip() for line in listed if line.strip())
    outside = [file for file in files if "/" not in file]
    if outside:
        raise ValueError(f"toys4k: list_file must name assets in the folder of a class, got {outside[0]}")
    classes = sorted({file.split("/")[0] for file in files})
    files = take(files, 3_229, limit, "toys4k")
    missing = [file for file in files if not (root / file).is_file()]
    if missing:
        raise FileNotFoundError(f"toys4k: {len(missing)} assets are missing, such as {root / missing[0]}")
    samples = [Sample(file, partial(read_mesh, root / file), label=classes.index(file.split("/")[0])) for file in files]
    names = tuple(name.replace("_", " ") for name in classes)
    protocol = _protocol(len(files), size, limit)
    return EvaluationSet("toys4k", "object", samples, protocol, checksum(root, files), names, TEMPLATES, view_size=size)


def _protocol(count: int, size: int, limit: int | None) -> dict[str, object]:
    if size < 1:
        raise ValueError(f"size must be positive, got {size}")
    return {
        "object": "longest side 1, middle at 0",
        "views": f"{COMPARED_VIEWS} of a spherical Hammersley sequence between the cameras that tokens come from, "
        f"{size} px, on black",
        "count": count,
        **({"limit": limit} if limit is not None else {}),
    }
