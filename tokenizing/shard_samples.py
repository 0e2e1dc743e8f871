"""What is one sample of a WebDataset tar, and what is a medium in a table: the same for corpora and for training."""

import tarfile
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any


def tar_samples(tar: tarfile.TarFile) -> Iterator[tuple[str, Iterator[tuple[str, tarfile.TarInfo]]]]:
    """
    Yields the samples of a tar: neighboring files whose paths are equal up to the first dot of the name.

    Hidden files and what is no file are passed over. Members come as they are met, so that a tar that is read as a
    stream can be read between them.

    Yields:
        The path up to the dot, and ending in small letters and member of each of the sample's files.
    """
    for key, members in groupby(_members(tar), itemgetter(0)):
        yield key, ((ending, member) for _, ending, member in members)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    for member in tar:
        folder, _, name = member.name.rpartition("/")
        if member.isfile() and not name.startswith("."):
            stem, _, ending = name.partition(".")
            yield f"{folder}/{stem}".lstrip("./"), ending.lower(), member


def medium_of_cell(value: Any) -> tuple[bytes | Path | None, str]:
    """
    Gives the medium in a cell of a table: bytes, text that is a path, or, as `datasets` stores media, a dict of "bytes"
    and "path".

    Returns:
        Its bytes or its path, None where the cell has neither, and the name of the file that it comes from, if known.
    """
    name = ""
    if isinstance(value, dict):
        name = value.get("path") or ""
        value = value["bytes"] if value.get("bytes") is not None else name or None
    if isinstance(value, str):
        name, value = value, Path(value)
    return (value if isinstance(value, (bytes, Path)) else None), name
