"""Tensors of a corpus's objects that are computed once and read in every epoch, such as what is seen of pictures."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from atoken.processing.atomic_files_atoken import atomic_file

HEADER = "features.json"
_SHARD = 64  # objects of a file
_OPEN = 64  # files that stay open


def write_features(
    folder: Path, facts: dict[str, Any], count: int, compute: Callable[[int], torch.Tensor]
) -> Iterator[int]:
    """
    Writes one tensor for each object of a corpus; goes on where it was stopped.

    Args:
        folder: new, or of the same features.
        facts: what decides the tensors, JSON-ready.
        count: objects of the corpus.
        compute: gives an object's tensor by its row.

    Yields:
        How many objects are done.

    Raises:
        ValueError: the folder holds other features.
    """
    facts = {**facts, "objects": count}
    if (folder / HEADER).is_file():
        _check(folder, facts)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / HEADER) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for start in range(0, count, _SHARD):
        end = min(start + _SHARD, count)
        target = _file(folder, start)
        if not target.is_file():
            tensors = {str(row): compute(row).cpu().contiguous() for row in range(start, end)}
            with atomic_file(target) as temporary:
                save_file(tensors, temporary)
        yield end


class ObjectFeatures:
    """
    Reads what `write_features` has written: `features[row]` is the tensor of an object.

    Args:
        folder: of the features.
        expected: facts that its header must have.

    Raises:
        FileNotFoundError: the folder holds no features.
        ValueError: they are not complete, or other ones.
    """

    def __init__(self, folder: Path, expected: dict[str, Any]):
        self.folder = folder
        self.facts = _check(folder, expected)
        missing = [start for start in range(0, len(self), _SHARD) if not _file(folder, start).is_file()]
        if missing:
            raise ValueError(
                f"features must be of all objects, got {folder} without row {missing[0]}; write them again"
            )
        self._open = lru_cache(_OPEN)(lambda start: safe_open(_file(folder, start), framework="pt"))

    def __len__(self) -> int:
        return self.facts["objects"]

    def __getitem__(self, row: int) -> torch.Tensor:
        return self._open(row - row % _SHARD).get_tensor(str(row))


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:08d}.safetensors"


def _check(folder: Path, expected: dict[str, Any]) -> dict[str, Any]:
    path = folder / HEADER
    if not path.is_file():
        raise FileNotFoundError(f"features must be a folder with {HEADER}, got {folder}")
    facts = json.loads(path.read_text(encoding="utf-8"))
    for name, value in expected.items():
        if facts.get(name) != value:
            raise ValueError(
                f"features must be those of {name} {value!r}, got {facts.get(name)!r} in {folder}; write them into "
                "another folder"
            )
    return facts
