"""The batches of one task: which samples a process makes in each step, and making them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .batches import MakeLayout, Tokenize, TrainingBatch, pack
from .counter_random import CONTENTS, generator
from .handing_over import packed, unpacked
from .limits import Draw, Limits
from .mixing import Mixture
from .samples import UNREADABLE, TooLarge, TrainingSample, make_sample
from .step_plan import BatchSize, TaskPlan

logger = logging.getLogger(__name__)

# A run stops when more than this share of its examples cannot be read, once it has seen a few.
MAX_UNREADABLE, ENOUGH = 0.05, 200
ATTEMPTS = 200  # examples that are tried for one sample


class TooManyUnreadable(RuntimeError):
    """Says that more examples are damaged than chance explains: the data or their description are wrong."""


@dataclass(frozen=True)
class Order:
    """
    Says what is in one micro-batch; small, so that it can be sent to whoever makes it.

    Attributes:
        task: whose samples.
        numbers, shares: of each sample, see `Draw`.
        frames: of its clips, None for other media.
        step_samples: samples that each process has in this step.
    """

    task: str
    numbers: list[int]
    shares: list[float]
    frames: int | None
    step_samples: list[int]


@dataclass
class Tally:
    """
    Counts what happened while samples were made.

    Attributes:
        seen: examples that were tried.
        unreadable: what is wrong with those that could not be read.
        too_large: objects that were passed over.
    """

    seen: int = 0
    unreadable: list[str] = field(default_factory=list)
    too_large: int = 0


@dataclass
class Made:
    """Holds a micro-batch and what happened while it was made."""

    batch: TrainingBatch
    tally: Tally

    def pin_memory(self) -> "Made":
        """Gives a copy in pinned memory; data loaders call this."""
        return Made(self.batch.pin_memory(), self.tally)

    def __reduce__(self) -> tuple:
        return _unpacked_made, packed((self.batch, self.tally))


def _unpacked_made(*parcel: Any) -> Made:
    return Made(*unpacked(*parcel))


class Batches:
    """
    Plans and makes the batches of one task for this process; iterating makes them here, one micro-batch after another.

    Args:
        task: what is done, of which medium, such as "image_understanding".
        mixture: where samples come from.
        limits: see `Limits`; its `max_tokens` is also what a micro-batch may have.
        size: samples of a step of all processes together.
        seed: of sizes and contents.
        tokenize: captions -> ids or embeddings.
        make_layout: see `TrainingBatch.layout`.
        rank, processes: which of so many processes this is.
        workers: processes that make batches ahead, for all tasks of a run.

    Raises:
        ValueError: more processes than samples.
    """

    def __init__(
        self,
        task: str,
        mixture: Mixture,
        limits: Limits,
        size: BatchSize,
        seed: int,
        tokenize: Tokenize | None = None,
        make_layout: MakeLayout | None = None,
        rank: int = 0,
        processes: int = 1,
        workers: int = 0,
    ):
        if processes > size.least:
            raise ValueError(
                f"batch_sizes: {task} must be at least {processes}, the processes, got {size.least}; give it more "
                "samples or use fewer processes"
            )
        self.task, self.mixture, self.limits, self.seed = task, mixture, limits, seed
        self.tokenize, self.make_layout = tokenize, make_layout
        self.rank, self.processes, self.workers = rank, processes, workers
        self.plan = TaskPlan(task, limits, size, seed, mixture.sides)
        self.number = 0  # of the first sample of the next step
        self.seen = self.unreadable = self.too_large = 0
        self._waiting: list[Order] = []

    def order(self) -> list[Order]:
        """Plans the next step: gives this process's micro-batches, of which every process has as many."""
        step = self.plan.step(self.number)
        parts = step.split(self.processes, self.limits.max_tokens)
        counts = [sum(map(len, each)) for each in parts]
        self.number += len(step)
        return [
            Order(self.task, (step.first + part).tolist(), step.shares[part].tolist(), step.frames, counts)
            for part in parts[self.rank]
        ]

    def make(self, order: Order) -> Made:
        """
        Makes a micro-batch.

        A sample that cannot be made is replaced by another example of the same source, so that batches are as planned.

        Raises:
            TooManyUnreadable: no example that was tried in place of one can be used.
        """
        tally = Tally()
        samples = [
            self._sample(number, Draw(share, order.frames), tally)
            for number, share in zip(order.numbers, order.shares, strict=True)
        ]
        planned = order.step_samples, order.frames
        batch = pack(self.task, samples, order.numbers, self.tokenize, self.make_layout, *planned)
        return Made(batch, tally)

    def _sample(self, number: int, draw: Draw, tally: Tally) -> TrainingSample:
        rng, last = generator(self.seed, CONTENTS, number), ""
        for attempt in range(ATTEMPTS):
            tally.seen += 1
            try:
                return make_sample(self.task, self.mixture.read(number, attempt), self.limits, rng, draw)
            except TooLarge as error:
                tally.too_large += 1
                last = str(error)
            except UNREADABLE as error:
                tally.unreadable.append(str(error))
                last = str(error)
        raise TooManyUnreadable(
            f"{self.task}: none of {ATTEMPTS} samples can be used; check the task's sources and the limits. The last "
            f"one: {last}"
        )

    def count(self, made: Made) -> TrainingBatch:
        """
        Takes a micro-batch that is ready, and counts what happened on the way.

        Raises:
            TooManyUnreadable: too many of all examples so far cannot be read.
        """
        tally = made.tally
        self.seen += tally.seen
        self.unreadable += len(tally.unreadable)
        self.too_large += tally.too_large
        for reason in tally.unreadable:
            logger.warning("%s: sample cannot be read: %s", self.task, reason)
        if tally.unreadable and self.seen >= ENOUGH and self.unreadable > MAX_UNREADABLE * self.seen:
            raise TooManyUnreadable(
                f"{self.task}: {self.unreadable} of {self.seen} samples cannot be read; the last one: "
                f"{tally.unreadable[-1]}"
            )
        return made.batch

    def __iter__(self) -> Iterator[TrainingBatch]:
        return self

    def __next__(self) -> TrainingBatch:
        """Makes the next micro-batch here, as numbers on the CPU."""
        self._waiting = self._waiting or self.order()
        return self.count(self.make(self._waiting.pop(0))).to("cpu")

    def close(self) -> None:
        """Forgets what has been planned and not made."""
        self._waiting = []
