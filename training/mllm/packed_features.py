"""Named tensors packed into few files, written once and read by name."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from atoken.processing.atomic_files_atoken import atomic_file

_OPEN_FILES = 128  # at most, at a time


class PackedFeatures:
    """
    Keeps the features of many media in few files of safetensors.

    Each call of `write` makes one file, whole or not at all, so that several processes may write into one folder; what
    the others have written is known after `refresh`.

    Args:
        folder: where the files are; it is created.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, Path] = {}
        self._listed: set[Path] = set()
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def __len__(self) -> int:
        return len(self._files)

    def refresh(self) -> None:
        """Finds the files that other processes have written."""
        for path in sorted(set(self.folder.glob("[!.]*.safetensors")) - self._listed):
            with safe_open(path, framework="pt") as file:
                self._know(path, file.keys())

    def write(self, features: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """
        Writes features into a new file.

        Args:
            features: key -> name -> tensor; names have no slash.
        """
        tensors = {
            f"{key}/{name}": tensor.detach().cpu().contiguous()
            for key, named in features.items()
            for name, tensor in named.items()
        }
        path = self.folder / f"{hashlib.sha256(' '.join(sorted(tensors)).encode()).hexdigest()[:32]}.safetensors"
        with atomic_file(path) as temporary:
            save_file(tensors, temporary)
        self._know(path, tensors)

    def read(self, key: str, *names: str) -> tuple[torch.Tensor, ...]:
        """Gives tensors of a key; `KeyError` if it was not written."""
        file = _opened(self._files[key])
        return tuple(file.get_tensor(f"{key}/{name}") for name in names)

    def _know(self, path: Path, names: Any) -> None:
        self._listed.add(path)
        self._files.update((name.rpartition("/")[0], path) for name in names)


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt").__enter__()
