"""Where occupied voxels lie to each other: neighbors, and cells of 2 x 2 x 2 voxels. Computed once per object."""

import itertools
from dataclasses import dataclass

import torch

from .packed_sequences_atoken import PackedSequences

# Half of the 26 neighbors; the others are their opposites, among which the same pairs of voxels appear the other way.
OFFSETS = [offset for offset in itertools.product((-1, 0, 1), repeat=3) if offset > (0, 0, 0)]


@dataclass(frozen=True)
class SparseGrid:
    """
    Holds N occupied voxels of B samples and which of them are neighbors.

    Attributes:
        coords: (N, 3) int64 [x, y, z].
        sequences: which sample each voxel is of.
        pairs: for each of `OFFSETS`, the voxels that have a neighbor there, and that neighbor: two (P,) int64.
    """

    coords: torch.Tensor
    sequences: PackedSequences
    pairs: list[tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def build(cls, coords: torch.Tensor, sequences: PackedSequences, resolution: int) -> "SparseGrid":
        """Finds neighbors by looking them up in the whole grid, with a border of empty voxels around it."""
        side = resolution + 2
        place = ((sequences.sample * side + coords[:, 0] + 1) * side + coords[:, 1] + 1) * side + coords[:, 2] + 1
        table = place.new_full((len(sequences.lengths) * side**3,), -1)
        table[place] = torch.arange(len(place), device=place.device)
        steps = place.new_tensor([(x * side + y) * side + z for x, y, z in OFFSETS])
        neighbor = table[place + steps[:, None]]  # (13, N)
        offset, here = (neighbor >= 0).nonzero(as_tuple=True)
        there = neighbor[offset, here]
        counts = torch.bincount(offset, minlength=len(OFFSETS)).tolist()
        return cls(coords, sequences, list(zip(here.split(counts), there.split(counts), strict=True)))


@dataclass(frozen=True)
class SparseLayout:
    """
    Holds the voxels of packed objects, the cells that they lie in, and the neighbors of both.

    Attributes:
        voxels: N voxels in the given order.
        cells: M cells of 2 x 2 x 2 voxels, sample by sample in the order of x, y, z.
        cell: (N,) int64, the cell of each voxel.
        members: (M, 8) int64, the voxels of each cell, N where there is none.
        sizes: (M, 1) fp32, how many voxels a cell has.
    """

    voxels: SparseGrid
    cells: SparseGrid
    cell: torch.Tensor
    members: torch.Tensor
    sizes: torch.Tensor

    @classmethod
    def build(cls, coords: torch.Tensor, cu_seqlens: torch.Tensor, resolution: int) -> "SparseLayout":
        """
        Computes the layout of packed objects; reads numbers back from the device.

        Args:
            coords: (N, 4) integers [t, x, y, z], x, y, z in [0, resolution), in any order within a sample; t has no
                effect. No voxel of a sample twice.
            cu_seqlens: (B + 1,) integers, where each sample starts.
            resolution: an even number of voxels along a side.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        _check_types(coords, cu_seqlens)
        starts = cu_seqlens.tolist()
        lengths = [end - start for start, end in itertools.pairwise(starts)]
        if starts[0] != 0 or starts[-1] != len(coords) or min(lengths) < 1:
            raise ValueError(f"cu_seqlens must rise from 0 to the number of voxels, {len(coords)}, got {starts}")
        voxels = coords[:, 1:].long()
        low, high = (int(each) for each in voxels.aminmax())
        if low < 0 or high >= resolution:
            raise ValueError(f"coords must have x, y, z in [0, {resolution}), got values from {low} to {high}")
        half = resolution // 2
        sequences = PackedSequences.of(lengths, coords.device)
        x, y, z = (voxels // 2).unbind(1)
        key = ((sequences.sample * half + x) * half + y) * half + z
        keys, cell, sizes = torch.unique(key, return_inverse=True, return_counts=True)
        corner = (voxels % 2 * voxels.new_tensor([4, 2, 1])).sum(1)
        members = cell.new_full((len(keys), 8), len(voxels))
        members[cell, corner] = torch.arange(len(voxels), device=cell.device)
        if int((members < len(voxels)).sum()) < len(voxels):
            raise ValueError("coords must not hold a voxel twice within a sample, got duplicates")
        counts = torch.bincount(keys // half**3, minlength=len(lengths)).tolist()
        cells = torch.stack([keys // half**2 % half, keys // half % half, keys % half], dim=1)
        return cls(
            SparseGrid.build(voxels, sequences, resolution),
            SparseGrid.build(cells, PackedSequences.of(counts, coords.device), half),
            cell,
            members,
            sizes[:, None].float(),
        )

    def halve(self, hidden: torch.Tensor, pool_counts_zero: bool) -> torch.Tensor:
        """
        Averages voxels (N, d) over cells (M, d).

        Args:
            hidden: of the voxels.
            pool_counts_zero: divides the sum of a cell's m voxels by m + 1 and not by m, as TRELLIS's public code does,
                whose mean counts the zero that it starts from.
        """
        padded = torch.cat([hidden, hidden.new_zeros(1, hidden.shape[1])])
        total = padded[self.members].sum(1, dtype=torch.float32)
        return (total / (self.sizes + int(pool_counts_zero))).to(hidden.dtype)

    def restore(self, hidden: torch.Tensor) -> torch.Tensor:
        """Gives every voxel its cell's value: (M, d) -> (N, d)."""
        return hidden[self.cell]


def _check_types(coords: torch.Tensor, cu_seqlens: torch.Tensor) -> None:
    for name, value in (("coords", coords), ("cu_seqlens", cu_seqlens)):
        if not isinstance(value, torch.Tensor) or value.dtype not in (torch.int32, torch.int64):
            given = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(f"{name} must be a tensor of int32 or int64, got {given}")
    if coords.ndim != 2 or coords.shape[1] != 4 or not len(coords):
        raise ValueError(f"coords must be (N, 4), [t, x, y, z] of one voxel or more, got {tuple(coords.shape)}")
    if cu_seqlens.ndim != 1 or len(cu_seqlens) < 2:
        raise ValueError(f"cu_seqlens must be (B + 1,) with B > 0, got {tuple(cu_seqlens.shape)}")
