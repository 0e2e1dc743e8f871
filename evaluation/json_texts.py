"""Texts and JSON of other projects, checked for what they should be."""

import json
from pathlib import Path
from typing import Any


def read_text(path: Path, expected: str) -> str:
    """
    Reads a text file.

    Args:
        path: of the file.
        expected: how an error begins: the argument and what it must be, such as "path must be a results file".

    Raises:
        ValueError: it is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{expected}, got {path}, which is no text in UTF-8") from error


def parsed(text: str, expected: str, where: str, kind: type = dict) -> Any:
    """
    Reads a JSON text.

    Args:
        text: of a file or a line.
        expected: as of `read_text`.
        where: it is from, as an error calls it.
        kind: what it has to hold, a dict or a list.

    Raises:
        ValueError: it is no JSON, or holds something else.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{expected}, got {where}, which is no JSON: {error}") from error
    if not isinstance(values, kind):
        raise ValueError(f"{expected}, got a {type(values).__name__} in {where}")
    return values
