"""The files of a data set on disk, and a checksum by which two machines can tell that they have the same."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from atoken.processing.media_suffixes_atoken import media_kind


def existing(path: str | Path, what: str, source: str = "") -> Path:
    """
    Gives the path, if there is something.

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


def find_media(folder: str | Path, kind: str, what: str, source: str = "") -> list[str]:
    """
    Names the files of a kind below a folder: all that `atoken` takes for an image, a video or an object.

    An animated picture is a video.

    Args:
        kind: "image", "video" or "object".
        what, source: as in `existing`.

    Returns:
        Names relative to the folder with forward slashes, in order.

    Raises:
        FileNotFoundError: no folder, or none of these files in it.
    """
    return _find(folder, lambda path: media_kind(path) == kind, kind, what, source)


def find_files(folder: str | Path, suffixes: Iterable[str], what: str, source: str = "") -> list[str]:
    """
    Names the files below a folder that end in one of some suffixes; otherwise as `find_media`.

    Raises:
        FileNotFoundError: no folder, or none of these files in it.
    """
    expected = {suffix.lower() for suffix in suffixes}
    return _find(folder, lambda path: path.suffix.lower() in expected, " or ".join(sorted(expected)), what, source)


def _find(folder: str | Path, fits: Callable[[Path], bool], expected: str, what: str, source: str) -> list[str]:
    root = existing(folder, what, source)
    visible = (path for path in root.rglob("*") if not path.name.startswith(".") and path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in visible if fits(path))
    if not names:
        raise FileNotFoundError(f"{what}: {folder} holds no {expected} files" + (f". {source}" if source else ""))
    return names


def checksum(folder: str | Path, names: Sequence[str]) -> str:
    """Hashes the sorted lines "name, tab, size in bytes" (SHA-256, hex): which files, not their contents."""
    lines = sorted(f"{name}\t{(Path(folder) / name).stat().st_size}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def take(names: list[str], expected: int | None, limit: int | None, what: str) -> list[str]:
    """
    Takes the first `limit` names, or all of them, which must be as many as the protocol says.

    Raises:
        ValueError: there are more or fewer, or the limit is not positive.
    """
    if limit is not None:
        if limit < 1:
            raise ValueError(f"{what}: limit must be positive, got {limit}")
        return names[:limit]
    if expected is not None and len(names) != expected:
        raise ValueError(
            f"{what} must have {expected:,} samples by its protocol, got {len(names):,}; "
            "complete the data, or give `limit` to measure on some of it, which is then said beside the numbers"
        )
    return names
