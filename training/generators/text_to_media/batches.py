"""Batches of images or of videos with captions: a pure function of seed and step, so that a run goes on exactly."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from atoken.generation.text_conditions_atoken import TextCondition
from atoken.tokenizing.corpus.reading import SizeBuckets

from ..steps_ahead import StepsAhead
from .captions import CaptionConditions
from .stage import TextToMediaStage

KINDS = ("image", "video")


class CaptionedTokens(Protocol):
    """Describes rows by number, as `atoken.tokenizing.corpus` reads them."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Gives "latents" (C, [t,] h, w) and "caption"."""


@dataclass(frozen=True)
class Captioned:
    """
    Holds the rows of one kind.

    Attributes:
        rows: that are drawn from.
        sizes: (rows, 3), (t, h, w) of each.
        captions: of each.
    """

    rows: CaptionedTokens
    sizes: np.ndarray
    captions: Sequence[str]


@dataclass(frozen=True)
class MediaBatch:
    """
    Holds images or videos of one size for one forward and backward pass.

    Attributes:
        latents: (B, C, T, h, w) fp32, normalized; T = 1 of images.
        condition: of their captions.
        kind: "image" or "video".
        step, rank: what random numbers of this batch follow from, beside a seed.
    """

    latents: torch.Tensor
    condition: TextCondition
    kind: str
    step: int
    rank: int
    task: str = "generation"

    @property
    def num_samples(self) -> int:
        """Counts images or videos."""
        return len(self.latents)

    @property
    def num_tokens(self) -> int:
        """Counts latents, without those of texts."""
        return self.latents.numel() // self.latents.shape[1]

    def to(self, device: torch.device) -> "MediaBatch":
        """Gives a copy on a device."""
        latents = self.latents.to(device, non_blocking=True)
        return replace(self, latents=latents, condition=self.condition.to(device))


class MediaBatches(StepsAhead):
    """
    Draws batches without end: in each epoch of a kind every row once, its last short batches too.

    Args:
        media: by kind, "image" or "video".
        captions: conditions of all captions.
        stage: says the sizes of batches, which sizes samples may have, and how many steps are of images.
        seed: of the order.
        rank, world_size: this process, and how many there are.

    Raises:
        ValueError: there are no rows, or some of a size that the stage does not have.
    """

    def __init__(
        self,
        media: Mapping[str, Captioned],
        captions: CaptionConditions,
        stage: TextToMediaStage,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__()
        self.media, self._captions = dict(media), captions
        self._rank, self._world_size = rank, world_size
        self._image_share = stage.image_share if "video" in media else 1.0
        if "image" not in media:
            self._image_share = 0.0
        self._orders, digest = {}, hashlib.sha256()
        for kind, each in sorted(self.media.items()):
            _check_sizes(kind, each.sizes, stage.buckets)
            captions.check(each.captions)
            batch_size = stage.image_batch_size if kind == "image" else stage.video_batch_size
            self._orders[kind] = _Order(each.sizes, batch_size, seed)
            digest.update(f"{kind} {batch_size} {seed} {self._image_share}".encode() + each.sizes.tobytes())
            digest.update("\n".join(each.captions).encode())
        self._digest = digest.hexdigest()

    def describe(self) -> list[str]:
        """Gives a line for each bucket: its kind and size, and how many samples it has."""
        lines = []
        for kind, each in self.media.items():
            sizes, counts = np.unique(each.sizes, axis=0, return_counts=True)
            lines += [f"{kind} {t} x {h} x {w}: {n:,}" for (t, h, w), n in zip(sizes.tolist(), counts, strict=True)]
        return lines

    def place(self, step: int) -> tuple[str, int]:
        """Gives the kind of a step, counted from 0, and how many steps of this kind were before it."""
        before, after = (int(count * self._image_share + 1e-9) for count in (step, step + 1))
        return ("image", before) if after > before else ("video", step - before)

    def rows(self, step: int) -> tuple[str, np.ndarray]:
        """Gives the kind of a step and the numbers of this process's rows."""
        kind, number = self.place(step)
        rows = self._orders[kind].batch(number)
        # Every process has to have one.
        rows = np.resize(rows, max(len(rows), self._world_size))
        return kind, rows[self._rank :: self._world_size]

    def read(self, step: int) -> Sequence[MediaBatch]:
        """Gives this process's one batch of a step."""
        kind, numbers = self.rows(step)
        items = [self.media[kind].rows[int(number)] for number in numbers]
        latents = torch.stack([item["latents"] for item in items])
        latents = latents[:, :, None] if kind == "image" else latents
        return [MediaBatch(latents, self._captions.find([item["caption"] for item in items]), kind, step, self._rank)]

    def counters(self) -> dict[str, float]:
        """Gives the epochs of each kind so far."""
        kind, number = self.place(self._step)
        done = {kind: number, "video" if kind == "image" else "image": self._step - number}
        return {f"{each} epochs": done[each] / len(order) for each, order in self._orders.items()}

    def state(self) -> dict[str, Any]:
        """Gives the number of the next step, and what tells corpora apart."""
        return {**super().state(), "media": self._digest}

    def restore(self, state: dict[str, Any]) -> None:
        """
        Goes on with a step, on any number of processes.

        Raises:
            ValueError: the run began with other corpora, batches or another seed.
        """
        if state["media"] != self._digest:
            raise ValueError(
                "corpora, seed and sizes of batches must be those that the run began with, got others; give them, or "
                "begin a new run in another folder"
            )
        super().restore(state)


class _Order:
    """The batches of one kind, epoch by epoch."""

    def __init__(self, sizes: np.ndarray, batch_size: int, seed: int):
        self._buckets = SizeBuckets(sizes, batch_size, seed, drop_last=False)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def __len__(self) -> int:
        return len(self._buckets)

    def batch(self, number: int) -> np.ndarray:
        epoch, place = divmod(number, len(self))
        if self._epoch[0] != epoch:
            self._buckets.set_epoch(epoch)
            self._epoch = epoch, list(self._buckets)
        return np.array(self._epoch[1][place])


def _check_sizes(kind: str, sizes: np.ndarray, buckets: list[list[int]] | None) -> None:
    if not len(sizes):
        raise ValueError(f"the corpus of {kind}s must have rows, got none")
    if buckets is None:
        return
    found = np.unique(sizes, axis=0, return_counts=True)
    outside = [
        (size, int(count)) for size, count in zip(found[0].tolist(), found[1], strict=True) if size not in buckets
    ]
    if outside:
        count, first = sum(each for _, each in outside), " x ".join(map(str, outside[0][0]))
        raise ValueError(
            f"buckets must have the size of every {kind}, got {count} of {len(sizes)} in none, the first of "
            f"{first} latents; add it to the stage's buckets, or tokenize at another size"
        )
