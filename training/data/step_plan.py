"""Who does what in a step: computed from samples' numbers by every process alone, so that all have equally much to do.

A step's samples are the next numbers of its task, however many processes there are. So a run goes on with other
processes where it was, and one number is all that has to be remembered.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .counter_random import CLIPS, SIZES, uniforms
from .limits import LATENT, PATCH, Limits, side_within

# Tokens of one sequence at which attention costs as much as the rest of a block: weights of a block over twice its
# width, for So400m. Smaller models have fewer, but the balance hardly depends on it.
ATTENTION_TOKENS = 6600
# Numbers of clips in a step are multiples of it, so that 256 processes and all that divide 256 have equally many.
CLIPS_TOGETHER = 256
_CELLS = 256  # of the range of clips' sides, for which the number of clips is computed


@dataclass(frozen=True)
class BatchSize:
    """
    Says how many samples all processes have together in one step of a task.

    Attributes:
        least, most: numbers of samples.
        tokens: that reconstruction is filled to within these numbers, or None for always `most`.

    Raises:
        ValueError: the numbers are no range.
    """

    least: int
    most: int
    tokens: int | None = None

    def __post_init__(self):
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"batch_sizes must be numbers from 1 on, the smaller one first, got {self.least, self.most}"
            )
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"step_tokens must be at least 1, got {self.tokens}")


@dataclass(frozen=True)
class Step:
    """
    Holds one step of a task, of all processes together.

    Attributes:
        first: number of its first sample.
        shares: (count,) in [0, 1), how large each sample is within what its medium and the stage allow.
        frames: of every clip that is reconstructed; None for other media.
        tokens: (count,) that each sample is expected to have, or has at most.
        equal: whether samples cost the same as far as is known, so that neighbors may stay together.
    """

    first: int
    shares: np.ndarray
    frames: int | None
    tokens: np.ndarray
    equal: bool

    def __len__(self) -> int:
        return len(self.shares)

    @property
    def costs(self) -> np.ndarray:
        """Gives the cost of each sample: it grows with its tokens, and by attention with their square."""
        return self.tokens * (1 + self.tokens / ATTENTION_TOKENS)

    def split(self, processes: int, max_tokens: int) -> list[list[np.ndarray]]:
        """
        Shares the step out.

        Args:
            processes: at most as many as there are samples.
            max_tokens: of a micro-batch, up to what rounding to whole patches adds; one sample may have more.

        Returns:
            For each process its micro-batches: indices of samples, ascending. All processes have as many micro-batches.
            These may have more than `max_tokens` where there are hardly more samples than processes.

        Raises:
            ValueError: more processes than samples.
        """
        if processes > len(self):
            raise ValueError(f"processes must be at most the {len(self)} samples of a step, got {processes}")
        everything = np.arange(len(self))
        own = np.array_split(everything, processes) if self.equal else evenly(everything, self.costs, processes)
        most = min(len(each) for each in own)
        count = min(most, max(-(-int(self.tokens[each].sum()) // max_tokens) for each in own))
        while True:
            cut = [self._cut(each, count) for each in own]
            if count >= most or all(self.tokens[part].sum() <= max_tokens for parts in cut for part in parts):
                return cut
            count += 1

    def _cut(self, samples: np.ndarray, count: int) -> list[np.ndarray]:
        if count == 1:
            return [samples]
        parts = np.array_split(samples, count) if self.equal else evenly(samples, self.tokens[samples], count)
        # Heavy ones first everywhere, as sharded models wait for each other in every micro-batch.
        return parts if self.equal else sorted(parts, key=lambda part: -float(self.costs[part].sum()))


def evenly(items: np.ndarray, costs: np.ndarray, bins: int) -> list[np.ndarray]:
    """
    Shares items out so that the sums of their costs are about equal: the costliest first, each to who has least so far
    (Graham, 1969).

    Args:
        items: (n,) at least as many as bins.
        costs: (n,) positive.

    Returns:
        The items of each bin, ascending.
    """
    heap = [(0.0, index) for index in range(bins)]
    found: list[list[int]] = [[] for _ in range(bins)]
    order = np.argsort(-costs, kind="stable")
    for item, cost in zip(items[order].tolist(), costs[order].tolist(), strict=True):
        load, index = heap[0]
        found[index].append(item)
        heapq.heapreplace(heap, (load + cost, index))
    return [np.sort(np.array(each, dtype=np.int64)) for each in found]


class TaskPlan:
    """
    Plans the steps of one task.

    Pictures are drawn one by one. Clips of a step are all of one size and length: two of them on a process would
    otherwise never balance. Sizes with more clips in a step are drawn less often, so that a clip is as likely to have
    any size as if it had been drawn alone (paper, section 3.4).

    Args:
        task: such as "image_reconstruction".
        limits: what samples may be.
        size: how many there are in a step.
        seed: of sizes.
        sides: (first number, count) -> sides of the media as they are stored, infinite where that is not known.
    """

    def __init__(self, task: str, limits: Limits, size: BatchSize, seed: int, sides: Callable[[int, int], np.ndarray]):
        self.task, self.limits, self.size, self.seed, self._sides = task, limits, size, seed, sides
        if task == "video_reconstruction":
            low, high = limits.video_resolution
            middles = low + (np.arange(_CELLS) + 0.5) / _CELLS * (high - low)
            latent = np.maximum(1, -(-np.array(limits.frames) // LATENT))
            self._clip_counts = self._counts(latent[:, None] * (middles / PATCH) ** 2)
            likely = 1 / self._clip_counts.ravel()
            self._clips_up_to = np.cumsum(likely / likely.sum())

    def step(self, first: int) -> Step:
        """Plans the step that begins with a number."""
        if self.task == "image_reconstruction":
            return self._pictures(first)
        if self.task == "video_reconstruction":
            return self._clips(first)
        count = self.size.most
        shares = uniforms(self.seed, SIZES, first, count)[:, 0]
        return Step(first, shares, None, np.full(count, self._most_tokens()), equal=True)

    def _pictures(self, first: int) -> Step:
        limits, size = self.limits, self.size
        shares = uniforms(self.seed, SIZES, first, size.most)[:, 0]
        sides = side_within(limits.image_resolution, self._sides(first, size.most), shares)
        tokens = np.clip(np.round((sides / PATCH) ** 2), 1, limits.max_tokens).astype(np.int64)
        count = size.most
        if size.tokens is not None:
            fitting = int(np.searchsorted(np.cumsum(tokens), size.tokens, side="right"))
            count = min(max(fitting, size.least), size.most)
        return Step(first, shares[:count], None, tokens[:count], equal=False)

    def _clips(self, first: int) -> Step:
        which, within, *_ = uniforms(self.seed, CLIPS, first, 1)[0]
        place = min(int(np.searchsorted(self._clips_up_to, which, side="right")), len(self._clips_up_to) - 1)
        length, cell = divmod(place, _CELLS)
        count, share = int(self._clip_counts[length, cell]), (cell + within) / _CELLS
        side, frames = float(side_within(self.limits.video_resolution, np.inf, share)), self.limits.frames[length]
        tokens = min(max(1, -(-frames // LATENT)) * max(1, round((side / PATCH) ** 2)), self.limits.max_tokens)
        return Step(first, np.full(count, share), frames, np.full(count, tokens), equal=True)

    def _counts(self, tokens: np.ndarray) -> np.ndarray:
        """Tells how many clips of so many tokens each make a step."""
        size = self.size
        if size.tokens is None:
            return np.full(tokens.shape, size.most)
        fitting = size.tokens // np.maximum(1, tokens)
        if size.least >= CLIPS_TOGETHER:
            fitting = fitting // CLIPS_TOGETHER * CLIPS_TOGETHER
        return np.clip(fitting, size.least, size.most).astype(np.int64)

    def _most_tokens(self) -> int:
        """Gives the most tokens of a sample of this task."""
        limits = self.limits
        most = {
            "image_understanding": limits.understanding_tokens,
            "video_understanding": -(-limits.understanding_frames // LATENT) * limits.understanding_tokens,
            "3d_understanding": limits.object_voxels,
            "3d_reconstruction": limits.max_voxels,
        }[self.task]
        return limits.max_tokens if most is None else min(most, limits.max_tokens)
