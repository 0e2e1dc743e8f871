"""The unit of work, of resuming and of sharing among processes: some samples' results in one file.

A file that is there is whole. Results are later read in the order of samples, so no number depends on how many
processes worked, or on how often they were stopped.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from atoken.processing.atomic_files_atoken import atomic_file

Results = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


class Chunks:
    """
    Reads and writes the files of results of one model on one set.

    Args:
        folder: is created with the first file; its `plan.json` says what the results are of.
        facts: JSON-ready description of everything that decides the results.
        samples: how many there are.
        size: samples of a file.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], samples: int, size: int):
        self.folder, self.samples, self.size = folder, samples, size
        self.plan = json.dumps({**facts, "samples": samples, "chunk_size": size}, sort_keys=True, indent=1)

    @property
    def facts(self) -> dict[str, Any]:
        """Gives what `plan.json` holds."""
        return json.loads(self.plan)

    def check(self) -> None:
        """
        Checks that the folder has no results of something else.

        Raises:
            ValueError: it has.
        """
        if not self._plan_path.exists():
            return
        before, now = json.loads(self._plan_path.read_text(encoding="utf-8")), self.facts
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            raise ValueError(
                "output must hold no results but those of the same configuration, models, weights, files and sets, got "
                f"{self.folder}, whose plan.json differs in {', '.join(changed)}; choose another output, or overwrite "
                "to start again"
            )

    def __len__(self) -> int:
        return -(-self.samples // self.size)

    def indices(self, chunk: int) -> range:
        """Gives the samples of a chunk."""
        return range(chunk * self.size, min((chunk + 1) * self.size, self.samples))

    def missing(self) -> list[int]:
        """Lists the chunks without a readable file."""
        return [chunk for chunk in range(len(self)) if not _readable(self._path(chunk))]

    def write(self, chunk: int, records: list[dict[str, Any]], tensors: dict[str, torch.Tensor]) -> None:
        """Keeps the results of the samples of a chunk, tensors with one row for each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._plan_path.exists():
            with atomic_file(self._plan_path) as temporary:
                temporary.write_text(self.plan, encoding="utf-8")
        tensors = {name: value.contiguous() for name, value in tensors.items()} or {"none": torch.zeros(0)}
        with atomic_file(self._path(chunk)) as temporary:
            save_file(tensors, temporary, metadata={"records": json.dumps(records)})

    def __iter__(self) -> Iterator[Results]:
        """Yields records and tensors of every chunk, in the order of samples."""
        for chunk in range(len(self)):
            with safe_open(self._path(chunk), framework="pt") as file:
                names = [name for name in file.keys() if name != "none"]
                yield json.loads(file.metadata()["records"]), {name: file.get_tensor(name) for name in names}

    @property
    def _plan_path(self) -> Path:
        return self.folder / "plan.json"

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk:06d}.safetensors"


def _readable(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return "records" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False
