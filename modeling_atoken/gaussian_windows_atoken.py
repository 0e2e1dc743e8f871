"""The windows within which the 3D Gaussian decoder's voxels attend to each other."""

from dataclasses import dataclass

import torch

from .configuration_atoken import AtokenGaussianConfig

# Attention logits that exist at a time, 64 MB in fp32.
_MAX_LOGITS = 2**24
# Windows are filled up to a multiple of this many tokens, so that few batches of equal size hold all of them.
_BUCKET = 16


@dataclass
class WindowBatch:
    """Windows of about equal size: (W, L) token indices, which of them are filling, and where the others are."""

    index: torch.Tensor
    filling: torch.Tensor
    selected: torch.Tensor  # flat positions in (W, L) that are tokens

    def to(self, device: torch.device, non_blocking: bool = False) -> "WindowBatch":
        """Gives the windows on a device."""
        parts = (self.index, self.filling, self.selected)
        return WindowBatch(*(part.to(device, non_blocking=non_blocking) for part in parts))


@dataclass
class WindowGroups:
    """Holds all tokens, grouped by window, and how to bring the batches' results back into the given order."""

    batches: list[WindowBatch]
    inverse: torch.Tensor  # (N,)

    def to(self, device: torch.device, non_blocking: bool = False) -> "WindowGroups":
        """Gives the groups on a device."""
        inverse = self.inverse.to(device, non_blocking=non_blocking)
        if inverse is self.inverse:
            return self
        return WindowGroups([batch.to(device, non_blocking) for batch in self.batches], inverse)

    @classmethod
    def build(
        cls, coords: torch.Tensor, sample: torch.Tensor, shift: int, size: int, resolution: int, num_heads: int
    ) -> "WindowGroups":
        """Groups tokens with coords (N, 3) of samples (N,) by (coords + shift) // size; waits for the device."""
        side = (resolution + shift) // size + 1
        window = (coords + shift) // size
        key = ((sample * side + window[:, 0]) * side + window[:, 1]) * side + window[:, 2]
        order = torch.argsort(key, stable=True)
        counts = torch.unique_consecutive(key[order], return_counts=True)[1]
        starts = counts.cumsum(0) - counts
        lengths = (counts + _BUCKET - 1) // _BUCKET * _BUCKET
        by_length = torch.argsort(lengths, stable=True)
        bucket_lengths, bucket_sizes = torch.stack(torch.unique(lengths, return_counts=True)).tolist()
        batches = []
        for length, windows in zip(bucket_lengths, by_length.split(bucket_sizes), strict=True):
            position = torch.arange(length, device=coords.device)
            for chunk in windows.split(max(1, _MAX_LOGITS // (num_heads * length * length))):
                filling = position >= counts[chunk, None]  # (W, L)
                index = order[(starts[chunk, None] + position).clamp(max=len(order) - 1)]
                batches.append(WindowBatch(index, filling, (~filling).flatten().nonzero().squeeze(1)))
        tokens = torch.cat([batch.index.flatten()[batch.selected] for batch in batches])
        return cls(batches, torch.argsort(tokens))


def shifted_windows(coords: torch.Tensor, lengths: list[int], config: AtokenGaussianConfig) -> list[WindowGroups]:
    """
    Groups voxels by the windows of even and of odd blocks.

    Args:
        coords: (N, 3) int64 [x, y, z] in [0, resolution); no voxel of a sample twice.
        lengths: voxels of each sample.

    Raises:
        ValueError: a voxel is there twice.
    """
    counts = torch.tensor(lengths, device=coords.device)
    sample = torch.repeat_interleave(counts, output_size=len(coords))
    voxels = ((sample * config.resolution + coords[:, 0]) * config.resolution + coords[:, 1]) * config.resolution
    if len(torch.unique(voxels + coords[:, 2])) < len(coords):
        raise ValueError("coords must not hold a voxel twice within a sample, got duplicates")
    return [
        WindowGroups.build(coords, sample, shift, config.window_size, config.resolution, config.num_attention_heads)
        for shift in (0, config.window_shift)
    ]
