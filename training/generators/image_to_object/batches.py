"""Batches of 3D objects: every process computes from a step's number which objects are its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from atoken.generation.packed_sequences_atoken import PackedSequences

from ..steps_ahead import Epochs, StepsAhead

Item = TypeVar("Item")


@dataclass(frozen=True)
class Place:
    """
    Says which batch one is: random numbers follow from it, beside a seed.

    Attributes:
        step, rank, part: of the training, of the processes, of the micro batches of a process's step.
    """

    step: int
    rank: int = 0
    part: int = 0


@dataclass(frozen=True)
class Grids:
    """
    Holds dense grids of objects.

    Attributes:
        data: (B, C, X, Y, Z) fp32, occupancy or latents.
        conditions: (B, M, c) fp32, or None where nothing is seen of a picture.
        place: which batch it is.
    """

    data: torch.Tensor
    conditions: torch.Tensor | None
    place: Place
    task: str = "generation"

    @property
    def num_samples(self) -> int:
        """Counts objects."""
        return len(self.data)

    @property
    def num_tokens(self) -> int:
        """Counts cells."""
        return self.data[:, 0].numel()

    def to(self, device: torch.device) -> "Grids":
        """Gives a copy on a device."""
        conditions = None if self.conditions is None else self.conditions.to(device, non_blocking=True)
        return replace(self, data=self.data.to(device, non_blocking=True), conditions=conditions)


@dataclass(frozen=True)
class VoxelLatents:
    """
    Holds packed objects.

    Attributes:
        latents: (N, C) fp32, normalized.
        coords: (N, 4) int64 [0, x, y, z].
        lengths: voxels of each of B objects.
        conditions: (B, M, c) fp32.
        place: which batch it is.
    """

    latents: torch.Tensor
    coords: torch.Tensor
    lengths: tuple[int, ...]
    conditions: torch.Tensor
    place: Place
    task: str = "generation"

    @property
    def num_samples(self) -> int:
        """Counts objects."""
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """Counts voxels."""
        return len(self.latents)

    @property
    def sequences(self) -> PackedSequences:
        """Gives which object each voxel is of."""
        return PackedSequences.of(list(self.lengths), self.latents.device)

    def to(self, device: torch.device) -> "VoxelLatents":
        """Gives a copy on a device."""
        names = ("latents", "coords", "conditions")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def deal(loads: np.ndarray, groups: int, equal: bool) -> list[np.ndarray]:
    """
    Deals objects to groups, the largest first, each to the group with the least load.

    Args:
        loads: (B,) of each object.
        groups: how many.
        equal: whether all groups get as many objects, B / groups.

    Returns:
        The places of each group's objects, in the order they were given.
    """
    most = len(loads) // groups if equal else len(loads)
    members: list[list[int]] = [[] for _ in range(groups)]
    sums = [0] * groups
    for place in np.argsort(-loads, kind="stable").tolist():
        group = min((each for each in range(groups) if len(members[each]) < most), key=lambda each: sums[each])
        members[group].append(place)
        sums[group] += int(loads[place])
    return [np.sort(np.array(each, dtype=np.int64)) for each in members]


class ObjectBatches(StepsAhead):
    """
    Draws batches without end: each epoch has every object once, in an order that follows from the seed.

    A step's objects are dealt to processes, and a process's to micro batches, so that each has about as many voxels.

    Args:
        voxels: (rows,) of each object; what this is called with decides what is left out.
        read: gives an object by its row, with random numbers of its own for this step.
        collate: makes a batch of objects.
        batch_size: objects of a step, of all processes together.
        seed: of the order.
        micro_batches: of a process's step.
        max_voxels: larger objects are left out.
        rank, world_size: this process, and how many there are.

    Raises:
        ValueError: a step is larger than the corpus, or cannot be shared.
    """

    def __init__(
        self,
        voxels: np.ndarray,
        read: Callable[[int, np.random.Generator], Item],
        collate: Callable[[list[Item], Place], Any],
        batch_size: int,
        seed: int,
        micro_batches: int = 1,
        max_voxels: int = 32_768,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__()
        self._rows = np.flatnonzero(voxels <= max_voxels)
        self.left_out = len(voxels) - len(self._rows)
        if not 0 < batch_size <= len(self._rows):
            raise ValueError(
                f"batch_size must be from 1 to the corpus's {len(self._rows)} objects of at most {max_voxels} voxels, "
                f"got {batch_size}"
            )
        if batch_size % world_size or batch_size // world_size < micro_batches:
            raise ValueError(
                f"batch_size must be a multiple of the {world_size} processes with at least {micro_batches} objects, "
                f"one for each of micro_batches, in each; got {batch_size}"
            )
        self._voxels, self._read_item, self._collate = voxels, read, collate
        self._seed, self._micro_batches = seed, micro_batches
        self._rank, self._world_size = rank, world_size
        self._epochs = Epochs(self._rows, batch_size, seed)

    def rows(self, step: int) -> list[np.ndarray]:
        """Gives the rows of this process's micro batches in a step, counted from 0."""
        whole = self._epochs.rows(step)
        own = whole[deal(self._voxels[whole], self._world_size, equal=True)[self._rank]]
        return [own[part] for part in deal(self._voxels[own], self._micro_batches, equal=False)]

    def read(self, step: int) -> list[Any]:
        """Gives this process's micro batches of a step."""
        return [
            self._collate(
                [self._read_item(row, np.random.default_rng([self._seed, step, row])) for row in rows.tolist()],
                Place(step, self._rank, part),
            )
            for part, rows in enumerate(self.rows(step))
        ]

    def counters(self) -> dict[str, float]:
        """Gives the epochs so far."""
        return {"epochs": self._step / len(self._epochs)}
