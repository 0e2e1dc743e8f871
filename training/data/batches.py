"""Endless batches of one task: sources mixed by size, read ahead in threads, filled by tokens, resumable to the sample.

Samples are numbered over all processes. Which source a number belongs to, and all that is random about its sample,
follows from the seed and the number, so two processes see the samples that one would.
"""

import copy
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from atoken.processing import Cameras
from atoken.tokenizing.sources import Source

from .samples import UNREADABLE, Limits, TooLarge, TrainingSample, make_sample

logger = logging.getLogger(__name__)

READ_AHEAD = 4  # samples in work for each thread
# A run stops when more than this share of its samples cannot be read, once it has seen a few.
MAX_UNREADABLE, ENOUGH = 0.05, 200


class TooManyUnreadable(RuntimeError):
    """Says that more samples are damaged than chance explains: the data or their description are wrong."""


@dataclass
class TrainingBatch:
    """
    Holds packed samples of one task.

    Attributes:
        task: which.
        pixel_values: (N, 3072) float32; coords: (N, 4) int64; cu_seqlens: (B + 1,) int32.
        grids: (t, h, w) of every sample, of images and videos.
        lengths: tokens of every sample, known without asking the device.
        numbers: of the samples, over all processes and the whole run; what is random about a sample follows from it.
        input_ids: (B, length), of understanding.
        views: a (K, 3, S, S) uint8 tensor for every sample, and its cameras, of 3D reconstruction.
        layout: what the model wants to know of this batch beforehand, None if it finds that out itself.
        step_samples: samples that each process has in this step of this task; empty if all have as many.
        text_embeds: (B, d), the texts' embeddings, in place of `input_ids` where they have been computed already.
    """

    task: str
    pixel_values: torch.Tensor
    coords: torch.Tensor
    cu_seqlens: torch.Tensor
    grids: list[tuple[int, int, int] | None]
    lengths: list[int]
    numbers: list[int]
    input_ids: torch.Tensor | None = None
    views: list[torch.Tensor] = field(default_factory=list)
    cameras: list[Cameras] = field(default_factory=list)
    layout: Any = None
    step_samples: list[int] = field(default_factory=list)
    text_embeds: torch.Tensor | None = None

    @property
    def num_samples(self) -> int:
        """Counts the samples."""
        return len(self.grids)

    @property
    def num_tokens(self) -> int:
        """Counts the tokens of all samples."""
        return len(self.coords)

    @property
    def weighed_by_tokens(self) -> bool:
        """Tells whether the loss is a mean over tokens; understanding compares samples."""
        return not self.task.endswith("understanding")

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """Gives a copy whose tensors lie on a device; cameras stay, the renderer moves them."""
        moved = copy.copy(self)
        for name in ("pixel_values", "coords", "cu_seqlens", "input_ids"):
            value = getattr(self, name)
            setattr(moved, name, None if value is None else value.to(device, non_blocking=True))
        if self.layout is not None:
            moved.layout = self.layout.to(device)
        moved.views = [views.to(device, non_blocking=True) for views in self.views]
        return moved


Tokenize = Callable[[Sequence[str]], torch.Tensor]


def collate(
    task: str, samples: Sequence[TrainingSample], numbers: Sequence[int], tokenize: Tokenize | None
) -> TrainingBatch:
    """Packs samples; `tokenize` turns their captions into ids, where they have any."""
    lengths = [len(sample) for sample in samples]
    captions = [sample.caption for sample in samples]
    return TrainingBatch(
        task,
        torch.cat([sample.pixel_values for sample in samples]),
        torch.cat([sample.coords for sample in samples]),
        torch.tensor([0, *lengths]).cumsum(0).to(torch.int32),
        [sample.grid for sample in samples],
        lengths,
        list(numbers),
        tokenize(captions) if captions[0] is not None else None,
        [sample.views for sample in samples if sample.views is not None],
        [sample.cameras for sample in samples if sample.cameras is not None],
    )


@dataclass
class Mixture:
    """
    Draws from sources, from each in proportion to its size.

    Attributes:
        number: of the next sample, over all processes.
        counts: how often each source has been drawn from, by all processes.
    """

    sources: Sequence[Source]
    seed: int
    rank: int = 0
    processes: int = 1
    number: int = 0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self):
        if not self.sources:
            raise ValueError("sources must be at least one, got none")
        self.counts = self.counts or [0] * len(self.sources)
        sizes = np.array([source.size for source in self.sources])
        if sizes.min() <= 0:
            raise ValueError(f"size of every source must be positive, got {sizes.tolist()}")
        self._shares = np.cumsum(sizes / sizes.sum())

    def draw(self) -> tuple[int, Callable[[], dict[str, Any]]]:
        """Draws this process's next sample: its number, and what reads it."""
        while True:
            number = self.number
            place = np.random.default_rng((self.seed, 1, number)).random()
            which = min(int(np.searchsorted(self._shares, place, side="right")), len(self.sources) - 1)
            count = self.counts[which]
            self.number, self.counts[which] = number + 1, count + 1
            if number % self.processes == self.rank:
                return number, self.sources[which].draw(count)

    def state(self) -> dict[str, Any]:
        """Gives what `restore` needs to go on behind the sample drawn last."""
        return {
            "number": self.number,
            "counts": list(self.counts),
            "sources": [source.state() for source in self.sources],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """
        Goes on from a `state()`.

        Raises:
            ValueError: it is that of other sources.
        """
        if len(state["sources"]) != len(self.sources):
            raise ValueError(
                f"sources must be {len(state['sources'])}, as in the checkpoint, got {len(self.sources)}; resume with "
                "the data it was written with"
            )
        self.number, self.counts = state["number"], list(state["counts"])
        for source, its in zip(self.sources, state["sources"], strict=True):
            source.restore(its)


class Batches:
    """
    Gives endless batches of one task for this process.

    A batch is filled with samples, in their order, until the next one would make it larger than `max_tokens` or it has
    `max_samples`. Of a task with texts every batch has `max_samples`: its loss compares all with all.

    Args:
        task: what is done, of which medium, such as "image_understanding".
        mixture: where samples come from.
        limits: see `Limits`.
        max_tokens, max_samples: of one batch of this process.
        tokenize: captions -> ids.
        threads: that read and prepare samples.

    Raises:
        TooManyUnreadable: while iterating.
    """

    def __init__(
        self,
        task: str,
        mixture: Mixture,
        limits: Limits,
        max_tokens: int,
        max_samples: int,
        tokenize: Tokenize | None = None,
        threads: int = 2,
    ):
        self.task, self.mixture, self.limits, self.tokenize = task, mixture, limits, tokenize
        self.max_tokens, self.max_samples, self.threads = max_tokens, max_samples, threads
        self.seen = self.unreadable = self.too_large = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=task)
        self._waiting: deque[tuple[int, Future, dict[str, Any]]] = deque()
        self._state = mixture.state()  # behind the last sample that has been handed out
        self._left: tuple[int, TrainingSample, dict[str, Any]] | None = None  # did not fit into the last batch

    def state(self) -> dict[str, Any]:
        """Gives what `restore` needs to go on behind the last batch, however much has been read ahead."""
        counts = {name: getattr(self, name) for name in ("seen", "unreadable", "too_large")}
        return copy.deepcopy({"mixture": self._state, **counts})

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        self.close()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix=self.task)
        self.mixture.restore(state["mixture"])
        self._state = state["mixture"]
        for name in ("seen", "unreadable", "too_large"):
            setattr(self, name, state[name])

    def close(self) -> None:
        """Ends the threads that read ahead."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()
        self._left = None

    def __iter__(self) -> Iterator[TrainingBatch]:
        return self

    def __next__(self) -> TrainingBatch:
        samples, numbers, tokens = [], [], 0
        has_texts = self.task.endswith("understanding")
        while len(samples) < self.max_samples:
            number, sample, state = self._left or self._next_sample()
            self._left = None
            if samples and not has_texts and tokens + len(sample) > self.max_tokens:
                self._left = number, sample, state
                break
            samples.append(sample)
            numbers.append(number)
            tokens += len(sample)
            self._state = state
        return collate(self.task, samples, numbers, self.tokenize)

    def _next_sample(self) -> tuple[int, TrainingSample, dict[str, Any]]:
        """Gives the number of the next sample that can be used, the sample, and the state behind it."""
        while True:
            while len(self._waiting) < self.threads * READ_AHEAD:
                number, load = self.mixture.draw()
                future = self._pool.submit(self._prepare, number, load)
                self._waiting.append((number, future, self.mixture.state()))
            number, future, state = self._waiting.popleft()
            self.seen += 1
            try:
                return number, future.result(), state
            except TooLarge as error:
                self.too_large += 1
                logger.info("%s: passed over, %s", self.task, error)
            except UNREADABLE as error:
                self.unreadable += 1
                logger.warning("%s: sample cannot be read: %s", self.task, error)
                if self.seen >= ENOUGH and self.unreadable > MAX_UNREADABLE * self.seen:
                    raise TooManyUnreadable(
                        f"{self.task}: {self.unreadable} of {self.seen} samples cannot be read; the last one: {error}"
                    ) from error
            if self.too_large + self.unreadable == self.seen >= ENOUGH:
                raise TooManyUnreadable(
                    f"{self.task}: none of {self.seen} samples can be used; check the task's sources and the limits"
                )

    def _prepare(self, number: int, load: Callable[[], dict[str, Any]]) -> TrainingSample:
        rng = np.random.default_rng((self.mixture.seed, 2, number))
        return make_sample(self.task, load(), self.limits, rng)
