"""Real words as a task of training: crops of photos with what the teacher saw in them, beside the other tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from atoken.processing.patching_atoken import pad_and_patchify

from ...data.batches import TrainingBatch
from ...tokenizer.turns import TurnBatches
from .words_targets import SPACES, cut, read_photo

TASK = "photo_words"
SIDES = (112, 128, 160, 224)  # of crops in pixels, one for each batch; 7 x 7 places of the teacher's map are in all


@dataclass
class WordsBatch:
    """
    Holds crops of photos, all of one size.

    Attributes:
        pixel_values: (N, 3072) float32; coords: (N, 4) int64; cu_seqlens: (B + 1,) int32.
        grid: rows and columns of patches of every crop.
        vectors: (B, 256) float32, the teacher's words beyond what photos have in common, of length 1.
        maps: (B, channels, 7, 7) float32, what it sees where.
    """

    pixel_values: torch.Tensor
    coords: torch.Tensor
    cu_seqlens: torch.Tensor
    grid: tuple[int, int]
    vectors: torch.Tensor
    maps: torch.Tensor
    task: str = TASK

    @property
    def num_samples(self) -> int:
        """Counts the crops."""
        return len(self.vectors)

    @property
    def num_tokens(self) -> int:
        """Counts the tokens of all crops."""
        return len(self.coords)

    def to(self, device: torch.device | str) -> "WordsBatch":
        """Gives a copy whose tensors lie on a device."""
        names = ("pixel_values", "coords", "cu_seqlens", "vectors", "maps")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


class WordBatches:
    """
    Gives endless batches of crops. What is drawn follows from the seed and the number of the batch alone.

    Folders are drawn by the root of how many photos they have, so that no package has most of the say.

    Args:
        folder: written by `words_targets`.
        size: crops of a batch of this process.
        seed: of what is drawn.
        rank, processes: which of so many processes this is.

    Raises:
        FileNotFoundError: the folder has no targets.
    """

    def __init__(self, folder: Path, size: int, seed: int, rank: int = 0, processes: int = 1):
        by_package: dict[Path, list[Path]] = {}
        for path in sorted(folder.rglob("*.safetensors")):
            if path.name != SPACES:
                by_package.setdefault(path.parent, []).append(path)
        if not by_package:
            raise FileNotFoundError(f"folder must have targets of photos, got {folder} without; run words_targets")
        self._center = load_file(folder / SPACES)["center"]
        self._packages = list(by_package.values())
        shares = np.array([len(files) ** 0.5 for files in self._packages])
        self._shares, self._size, self._seed = shares / shares.sum(), size, seed
        self._number, self._step = rank, processes

    def __next__(self) -> WordsBatch:
        rng = np.random.default_rng((self._seed, self._number))
        self._number += self._step
        side = int(rng.choice(SIDES))
        drawn = [self._draw(side, rng) for _ in range(self._size)]
        crops, vectors, maps = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        tokens = [pad_and_patchify(crop[None].float() / 127.5 - 1) for crop in crops]
        cells = side // 16
        return WordsBatch(
            torch.cat([pixel_values for pixel_values, _ in tokens]),
            torch.cat([coords for _, coords in tokens]),
            torch.arange(self._size + 1, dtype=torch.int32) * cells**2,
            (cells, cells),
            vectors,
            maps,
        )

    def _draw(self, side: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draws a crop (3, side, side), its vector and its map, mirrored in half of the cases."""
        files = self._packages[rng.choice(len(self._packages), p=self._shares)]
        tensors = load_file(files[rng.integers(len(files))])
        chosen = int(rng.integers(len(tensors["boxes"])))
        photo = read_photo(tensors["photo"].numpy().tobytes())
        crop, seen = cut(photo, [tensors["boxes"][chosen].tolist()], side)[0], tensors["maps"][chosen].float()
        if rng.random() < 0.5:
            crop, seen = crop.flip(-1), seen.flip(-1)
        return crop, F.normalize(tensors["vectors"][chosen].float() - self._center, dim=0), seen

    def state(self) -> dict[str, int]:
        """Gives what `restore` goes on from."""
        return {"number": self._number}

    def restore(self, state: dict[str, int]) -> None:
        """Goes on from a `state()`."""
        self._number = state["number"]


class WordTurns:
    """
    Adds a batch of words to every step of a stage.

    Args:
        turns: the stage's other batches.
        words: what is added.
    """

    def __init__(self, turns: TurnBatches, words: WordBatches):
        self._turns, self._words = turns, words

    def __next__(self) -> Sequence[TrainingBatch | WordsBatch]:
        return [*next(self._turns), next(self._words)]

    def counters(self) -> dict[str, float]:
        """Counts what the stage's other batches count."""
        return self._turns.counters()

    def state(self) -> dict[str, Any]:
        """Gives what `restore` goes on from."""
        return {**self._turns.state(), "words": self._words.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        self._turns.restore(state)
        self._words.restore(state["words"])

    def close(self) -> None:
        """Ends what reads ahead."""
        self._turns.close()
