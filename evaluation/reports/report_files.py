"""What all files of others' numbers have in common: they are found, told apart, and said where they are from."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..json_texts import parsed, read_text


def report_file(path: str | Path) -> Path:
    """
    Finds a file.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {str(path)!r}")
    return path


def read_object(path: Path, what: str) -> dict[str, Any]:
    """
    Reads a JSON file that holds a mapping.

    Args:
        path: of the file.
        what: whose file it should be, as an error calls it.

    Raises:
        ValueError: it is another file.
    """
    expected = f"path must be {what}"
    return parsed(read_text(path, expected), expected, str(path))


def read_lines(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Reads a file with a JSON mapping on each line; yields what errors call the line, and the mapping.

    Raises:
        ValueError: it is another file.
    """
    expected = f"path must be {what}"
    for number, line in enumerate(read_text(path, expected).splitlines(), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, parsed(line, expected, where)


def share(value: Any, what: str, where: str) -> float:
    """
    Checks a number from 0 to 1.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where}: {what} must be a finite number, got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{where}: {what} must be from 0 to 1, got {value:g}")
    return float(value)


def stated(name: str, value: Any) -> str:
    """
    Checks what a file does not say and the reader has to.

    Raises:
        ValueError: it is empty, or no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a text, as the file does not state it, got {value!r}")
    return value


def origin(paths: list[Path], describe: dict[str, Any] | None) -> dict[str, Any]:
    """Gives the names and SHA-256 of files, and what the reader says of them."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {"files": digests, "described": dict(describe or {})}
