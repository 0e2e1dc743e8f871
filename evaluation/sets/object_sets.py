"""Sets of 3D objects (Table 8): meshes with colors, measured from the same cameras on black."""

from functools import partial
from pathlib import Path

from atoken.processing.mesh_reading_atoken import read_mesh

from ..interface import EvaluationSet, Sample
from .file_lists import checksum, existing, find_media, take

TOYS4K = "Toys4k is at https://github.com/rehg-lab/lowshot-shapebias/tree/main/toys4k; TRELLIS publishes its list"
TEMPLATES = ("a 3D model of a {}.",)


def object_folder(folder: str, limit: int | None = None) -> EvaluationSet:
    """
    Takes all meshes below a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    root = Path(folder)
    files = take(find_media(root, "object", "object-folder"), None, limit, "object-folder")
    samples = [Sample(file, partial(read_mesh, root / file)) for file in files]
    return EvaluationSet(root.name, "object", samples, _protocol(len(files), limit), checksum(root, files))


def toys4k(folder: str, list_file: str, limit: int | None = None) -> EvaluationSet:
    """
    Takes TRELLIS's 3,229 assets of Toys4k: FOLDER/<class>/<name>/..., labeled by the class's folder.

    Args:
        list_file: text file with the path of one asset on each line, relative to the folder.

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
    return EvaluationSet(
        "toys4k", "object", samples, _protocol(len(files), limit), checksum(root, files), names, TEMPLATES
    )


def _protocol(count: int, limit: int | None) -> dict[str, object]:
    return {
        "object": "longest side 1, middle at 0",
        "views": "8 of a spherical Hammersley sequence between the cameras that tokens come from, 256 px, on black",
        "count": count,
        **({"limit": limit} if limit is not None else {}),
    }
