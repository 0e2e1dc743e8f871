"""Batches of a corpus of tokens: every process computes from a step's number which rows are its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from .steps_ahead import Epochs, StepsAhead


class Tokens(Protocol):
    """Describes rows of tokens by number, as `atoken.tokenizing.corpus` reads them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Gives "latents" (C, h, w) or "codes" (h, w, G), and "label"."""


@dataclass(frozen=True)
class TokenImages:
    """
    Holds tokens of images for one forward and backward pass.

    Attributes:
        tokens: latents (B, C, h, w) fp32, or codes (B, N, G) int64.
        labels (B,): int64.
        step, rank: what random numbers of this batch follow from, beside a seed.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    step: int
    rank: int
    task: str = "generation"

    @property
    def num_samples(self) -> int:
        """Counts images."""
        return len(self.labels)

    @property
    def num_tokens(self) -> int:
        """Counts positions."""
        latents = self.tokens.is_floating_point()
        return len(self.labels) * (self.tokens[0, 0].numel() if latents else self.tokens.shape[1])

    def to(self, device: torch.device) -> "TokenImages":
        """Gives a copy on a device."""
        tokens, labels = (each.to(device, non_blocking=True) for each in (self.tokens, self.labels))
        return replace(self, tokens=tokens, labels=labels)


class TokenBatches(StepsAhead):
    """
    Draws batches without end: each epoch has every row once, in an order that follows from the seed.

    A corpus with mirror images has them as rows of their own, so that either is drawn with equal chance.

    Args:
        tokens: the rows.
        batch_size: images of a step, of all processes together.
        seed: of the order.
        rank, world_size: this process, and how many there are.

    Raises:
        ValueError: a step is larger than the corpus, or processes cannot share it evenly.
    """

    def __init__(self, tokens: Tokens, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        if not 0 < batch_size <= len(tokens):
            raise ValueError(f"batch_size must be from 1 to the corpus's {len(tokens)} rows, got {batch_size}")
        if batch_size % world_size:
            raise ValueError(f"batch_size must be a multiple of the {world_size} processes, got {batch_size}")
        super().__init__()
        self._tokens, self._rank, self._own = tokens, rank, batch_size // world_size
        self._epochs = Epochs(np.arange(len(tokens)), batch_size, seed)

    def rows(self, step: int) -> np.ndarray:
        """Gives the numbers of this process's rows in a step, counted from 0."""
        return self._epochs.rows(step)[self._rank * self._own : (self._rank + 1) * self._own]

    def read(self, step: int) -> Sequence[TokenImages]:
        """Gives this process's one batch of a step."""
        items = [self._tokens[int(row)] for row in self.rows(step)]
        name = "latents" if "latents" in items[0] else "codes"
        tokens = torch.stack([item[name] for item in items])
        if name == "codes":
            tokens = tokens.flatten(1, 2)  # (B, h, w, G) -> (B, N, G)
        labels = torch.tensor([int(item["label"]) for item in items])
        return [TokenImages(tokens, labels, step, self._rank)]

    def counters(self) -> dict[str, float]:
        """Gives the epochs so far."""
        return {"epochs": self._step / len(self._epochs)}


class TokensInMemory:
    """
    Holds a corpus that fits into memory, so that drawing rows at random reads no file.

    Args:
        tokens: the rows, each of which is read once.
    """

    def __init__(self, tokens: Tokens):
        items = [tokens[index] for index in range(len(tokens))]
        self._name = "latents" if "latents" in items[0] else "codes"
        # Codes fit into half the bytes of the smallest integers that tables can be asked with.
        dtype = torch.float32 if self._name == "latents" else torch.int32
        self._tokens = torch.stack([item[self._name].to(dtype) for item in items])
        self._labels = [int(item["label"]) for item in items]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = self._tokens[index]
        return {self._name: tokens if self._name == "latents" else tokens.long(), "label": self._labels[index]}
