"""YAML files of plain values: texts, numbers, lists and mappings, and never an object whose making runs code."""

from pathlib import Path
from typing import Any

import yaml

# Of all values, each counted as often as aliases repeat it: a page of aliases of aliases may stand for billions.
MOST_VALUES = 1_000_000


def read_yaml(path: str | Path, what: str) -> Any:
    """
    Reads a YAML file.

    Args:
        path: of the file.
        what: how an error calls it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, has tags of Python objects, is nested too deeply, or stands for too many values.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        count = _count(values, {})
    except RecursionError as error:
        raise ValueError(f"{what} must be YAML, got {path}, which is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{what} must be YAML, got {path}: {error}") from error
    if count > MOST_VALUES:
        raise ValueError(f"{what} must be YAML of at most {MOST_VALUES:,} values, got {path} of {count:,}")
    return values


def _count(value: Any, known: dict[int, int | None]) -> int:
    """The values in a value and itself, with those of aliases as often as they are used."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) in known:
        count = known[id(value)]
        if count is None:
            raise ValueError("a value must not contain itself")
        return count
    known[id(value)] = None
    inner = value.values() if isinstance(value, dict) else value
    known[id(value)] = count = 1 + sum(_count(each, known) for each in inner)
    return count
