"""The unit of work, of resuming and of sharing among processes: some samples' results in one file.

A file is written under a temporary name and renamed, so that what is there is whole. Results are later read in the
order of samples, so no number depends on how many processes worked, or on how often they were stopped.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

Results = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


class Chunks:
    """
    Files of results of one model on one set.

    Args:
        folder: is created.
        facts: JSON-ready description of everything that decides the results.
        samples: how many there are.
        size: samples of a file.

    Raises:
        ValueError: the folder holds results of other facts.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], samples: int, size: int):
        self.folder, self.samples, self.size = folder, samples, size
        written = json.dumps({**facts, "samples": samples, "chunk_size": size}, sort_keys=True, indent=1)
        plan = folder / "plan.json"
        if plan.exists():
            if plan.read_text(encoding="utf-8") != written:
                raise ValueError(
                    f"{folder} holds results of another configuration, model or set; "
                    "choose another --output, or give --overwrite to start again"
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _replace(plan, lambda path: path.write_text(written, encoding="utf-8"))

    def __len__(self) -> int:
        return -(-self.samples // self.size)

    def indices(self, chunk: int) -> range:
        """The samples of a chunk."""
        return range(chunk * self.size, min((chunk + 1) * self.size, self.samples))

    def missing(self) -> list[int]:
        """Chunks without a readable file."""
        return [chunk for chunk in range(len(self)) if not _readable(self._path(chunk))]

    def write(self, chunk: int, records: list[dict[str, Any]], tensors: dict[str, torch.Tensor]) -> None:
        """Keeps what was found out about the samples of a chunk, tensors with one row for each."""
        tensors = {name: value.contiguous() for name, value in tensors.items()} or {"none": torch.zeros(0)}
        metadata = {"records": json.dumps(records)}
        _replace(self._path(chunk), lambda path: save_file(tensors, path, metadata=metadata))

    def __iter__(self) -> Iterator[Results]:
        """Records and tensors of every chunk, in the order of samples."""
        for chunk in range(len(self)):
            with safe_open(self._path(chunk), framework="pt") as file:
                names = [name for name in file.keys() if name != "none"]
                yield json.loads(file.metadata()["records"]), {name: file.get_tensor(name) for name in names}

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk:06d}.safetensors"


def _readable(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return "records" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
