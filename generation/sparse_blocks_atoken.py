"""Convolutions among occupied voxels only, and the residual blocks made of them (TRELLIS, Xiang et al., 2024)."""

import math

import torch
from diffusers.models.normalization import FP32LayerNorm
from torch import nn

from .packed_sequences_atoken import PackedSequences
from .sparse_grid_atoken import OFFSETS, SparseGrid, SparseLayout

NORM_EPS = 1e-6


class SparseConv3d(nn.Module):
    """
    Applies a convolution of 3 x 3 x 3 voxels whose inputs and outputs are the occupied voxels.

    It is a dense convolution on the grid with zeros where nothing is, read at the occupied voxels. The weight is stored
    as (out, 3, 3, 3, in), axes x, y, z.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 3, 3, 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = 1 / math.sqrt(27 * in_channels)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, hidden: torch.Tensor, grid: SparseGrid) -> torch.Tensor:
        """(N, in) -> (N, out); sums in fp32."""
        result = nn.functional.linear(hidden, self.weight[:, 1, 1, 1], self.bias)
        dtype, result = result.dtype, result.float()
        for (x, y, z), (here, there) in zip(OFFSETS, grid.pairs, strict=True):
            ahead, behind = self.weight[:, 1 + x, 1 + y, 1 + z], self.weight[:, 1 - x, 1 - y, 1 - z]
            result.index_add_(0, here, nn.functional.linear(hidden[there], ahead).float())
            result.index_add_(0, there, nn.functional.linear(hidden[here], behind).float())
        return result.to(dtype)


class SparseResBlock(nn.Module):
    """
    Adds two sparse convolutions to voxels; the norm before the second knows the time.

    Args:
        in_channels, out_channels: before and after; a linear layer brings one to the other where they differ.
        time_width: channels of the time.
    """

    def __init__(self, in_channels: int, out_channels: int, time_width: int):
        super().__init__()
        self.norm1 = FP32LayerNorm(in_channels, eps=NORM_EPS)
        self.conv1 = SparseConv3d(in_channels, out_channels)
        self.norm2 = FP32LayerNorm(out_channels, eps=NORM_EPS, elementwise_affine=False)
        self.conv2 = SparseConv3d(out_channels, out_channels)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        self.time_proj = nn.Linear(time_width, 2 * out_channels)
        self.skip = nn.Linear(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(self, hidden: torch.Tensor, time: torch.Tensor, grid: SparseGrid) -> torch.Tensor:
        """(N, in), time (B, d) -> (N, out)."""
        found = self.conv1(nn.functional.silu(self.norm1(hidden)), grid)
        scale, shift = self.time_proj(nn.functional.silu(time)).chunk(2, dim=-1)
        normed = _modulated(self.norm2(found), shift, scale, grid.sequences)
        return self.conv2(nn.functional.silu(normed), grid) + self.skip(hidden)


def _modulated(
    hidden: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, sequences: PackedSequences
) -> torch.Tensor:
    rows = sequences.rows(hidden)
    return sequences.packed(torch.addcmul(sequences.spread(shift), rows, 1 + sequences.spread(scale)))


class HalvingResBlock(SparseResBlock):
    """Halves the grid, then does what `SparseResBlock` does among cells."""

    def __init__(self, in_channels: int, out_channels: int, time_width: int, pool_counts_zero: bool):
        super().__init__(in_channels, out_channels, time_width)
        self.pool_counts_zero = pool_counts_zero

    def forward(self, hidden: torch.Tensor, time: torch.Tensor, layout: SparseLayout) -> torch.Tensor:
        """Voxels (N, in), time (B, d) -> cells (M, out)."""
        return super().forward(layout.halve(hidden, self.pool_counts_zero), time, layout.cells)


class RestoringResBlock(SparseResBlock):
    """Gives every voxel its cell's value, then does what `SparseResBlock` does among voxels."""

    def forward(self, hidden: torch.Tensor, time: torch.Tensor, layout: SparseLayout) -> torch.Tensor:
        """Cells (M, in), time (B, d) -> voxels (N, out)."""
        return super().forward(layout.restore(hidden), time, layout.voxels)
