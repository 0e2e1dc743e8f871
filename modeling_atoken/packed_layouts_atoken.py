"""What a model has to know of a packed batch, computed on the host where the batch is made and handed over.

A model that is given tokens alone finds their tiles and grids itself, for which it reads numbers back from the device
and so waits for all that is queued there. Whoever packs a batch knows them already.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch

from .configuration_atoken import AtokenGaussianConfig
from .gaussian_windows_atoken import WindowGroups, shifted_windows
from .token_layouts_atoken import PackedSequences, TokenLayout, packed_layout

# fp32, in which positions are rotated, cannot tell larger integers apart.
MAX_COORDINATE = 2**24


@dataclass
class PackedLayout:
    """
    Holds the layout of one packed batch; a model that gets one reads nothing back from its device.

    Attributes:
        lengths: tokens of each sample.
        tile: latent frames of a temporal tile, the same for encoder and decoder.
        tokens: order, positions and sequences of the tokens in these tiles.
        pooling: one query for all tokens of each sample.
        gaussian_windows: windows of the Gaussian decoder, of voxels that it decodes.
    """

    lengths: list[int]
    tile: int
    tokens: TokenLayout
    pooling: PackedSequences
    gaussian_windows: list[WindowGroups] | None = None

    @classmethod
    def build(
        cls,
        coords: torch.Tensor,
        lengths: list[int],
        tile: int,
        gaussian_config: AtokenGaussianConfig | None = None,
    ) -> "PackedLayout":
        """
        Computes the layout of a batch on the CPU.

        Args:
            coords: (N, 4) integers [t, x, y, z] on the CPU.
            lengths: tokens of each sample.
            tile: latent frames of a temporal tile: `tile_frames` of the model divided by the frames of a patch.
            gaussian_config: of the model's Gaussian decoder, where it is to decode these voxels.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if coords.device.type != "cpu" or coords.ndim != 2 or coords.shape[1] != 4 or coords.is_floating_point():
            given = f"{coords.dtype} {tuple(coords.shape)} on {coords.device}"
            raise ValueError(f"coords must be integers (N, 4) on the CPU, got {given}")
        if not lengths or min(lengths) < 1 or sum(lengths) != len(coords):
            raise ValueError(
                f"lengths must be positive and add up to the {len(coords)} rows of coords, got {lengths[:12]}"
            )
        if tile < 1:
            raise ValueError(f"tile must be at least 1 latent frame, got {tile}")
        low, high = int(coords.min()), int(coords.max())
        if low < 0 or high >= MAX_COORDINATE:
            raise ValueError(f"coords must be in [0, {MAX_COORDINATE}), got values from {low} to {high}")
        tokens = packed_layout(coords, lengths, tile)
        pooling = PackedSequences.from_lengths([1] * len(lengths), coords.device, lengths)
        tokens.sequences.prepare()
        pooling.prepare()
        groups = None
        if gaussian_config is not None:
            groups = shifted_windows(coords[:, 1:].long(), lengths, gaussian_config)
        return cls(lengths, tile, tokens, pooling, groups)

    def to(self, device: torch.device | str) -> "PackedLayout":
        """Gives a copy on a device; from pinned memory the host does not wait for it."""
        return _with_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "PackedLayout":
        """Gives a copy in pinned memory, from which a device copies by itself; data loaders call this."""
        return _with_tensors(self, lambda tensor: tensor.pin_memory())


def _with_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Gives a copy of nested dataclasses and lists in which every tensor is changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, PackedSequences):
        return value.with_tensors(change)
    if is_dataclass(value):
        return type(value)(**{each.name: _with_tensors(getattr(value, each.name), change) for each in fields(value)})
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return [_with_tensors(each, change) for each in value]
    return value


__all__ = ["PackedLayout"]
