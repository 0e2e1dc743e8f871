"""Which files a data set on disk consists of, and a checksum by which two machines can tell that they have the same."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


def existing(path: str | Path, what: str, source: str = "") -> Path:
    """
    The path, if there is something.

    Args:
        what: how an error calls it.
        source: where it is to be had.

    Raises:
        FileNotFoundError: there is nothing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{what}: there is no {path}" + (f". {source}" if source else ""))
    return path


def find_files(folder: str | Path, suffixes: Iterable[str], what: str, source: str = "") -> list[str]:
    """
    Names of the files below a folder, relative to it with forward slashes, in order.

    Raises:
        FileNotFoundError: no folder, or none of these files in it.
    """
    root, wanted = existing(folder, what, source), {suffix.lower() for suffix in suffixes}
    found = (path for path in root.rglob("*") if path.suffix.lower() in wanted and path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in found if not path.name.startswith("."))
    if not names:
        raise FileNotFoundError(
            f"{what}: {folder} holds none of {', '.join(sorted(wanted))}" + (f". {source}" if source else "")
        )
    return names


def checksum(folder: str | Path, names: Sequence[str]) -> str:
    """SHA-256 (hex) of the sorted lines "name, tab, size in bytes": which files, not what is in them."""
    lines = sorted(f"{name}\t{(Path(folder) / name).stat().st_size}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def take(names: list[str], expected: int | None, limit: int | None, what: str) -> list[str]:
    """
    The first `limit` names, or all of them, which must be as many as the protocol says.

    Raises:
        ValueError: there are more or fewer, or the limit is not positive.
    """
    if limit is not None:
        if limit < 1:
            raise ValueError(f"{what}: limit must be positive, got {limit}")
        return names[:limit]
    if expected is not None and len(names) != expected:
        raise ValueError(
            f"{what}: the protocol takes {expected:,} samples, but there are {len(names):,}; "
            "complete the data, or give `limit` to measure on some of it, which is then said beside the numbers"
        )
    return names
