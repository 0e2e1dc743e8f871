"""Arithmetic on packed tokens: patches and back, samples, temporal tiles and their order in a batch.

A token is a row of features and integer coordinates [t, x, y, z]: latent frame, patch row (height), patch column
(width), depth. A batch is packed: the tokens of one sample after another, `cu_seqlens` (B + 1,) telling where each
starts. Everything here is computed once per forward pass, without a loop over tokens.
"""

import math
from dataclasses import dataclass

import torch

from .packed_layouts_atoken import MAX_COORDINATE, PackedLayout
from .token_layouts_atoken import (
    PackedSequences,
    TokenLayout,
    dense_layout,
    from_first_frame,
    grid_coords,
    packed_layout,
    sample_index,
)


def check_packed(coords: torch.Tensor, cu_seqlens: torch.Tensor, num_tokens: int) -> list[int]:
    """
    Checks that packed coordinates and lengths fit the tokens.

    Args:
        coords: (N, 4) integers.
        cu_seqlens: (B + 1,) integers.
        num_tokens: N.

    Returns:
        The number of tokens of each sample.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    for name, value in (("coords", coords), ("cu_seqlens", cu_seqlens)):
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} must be a tensor of integers, got {type(value).__name__}")
    integers = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype not in integers:
        raise ValueError(
            f"coords must be integers of shape (N, 4) holding [t, x, y, z], got {coords.dtype} {tuple(coords.shape)}"
        )
    if coords.shape[0] != num_tokens:
        raise ValueError(f"coords must have one row per token: got {coords.shape[0]} rows for {num_tokens} tokens")
    if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2 or cu_seqlens.dtype not in integers:
        raise ValueError(
            "cu_seqlens must be integers of shape (B + 1,) that begin with 0 and end with the number of tokens, got "
            f"{cu_seqlens.dtype} {tuple(cu_seqlens.shape)}"
        )
    cumulative = cu_seqlens.tolist()
    lengths = [end - start for start, end in zip(cumulative, cumulative[1:], strict=False)]
    if cumulative[0] != 0 or cumulative[-1] != num_tokens or min(lengths) < 1:
        shown = cumulative if len(cumulative) <= 12 else [*cumulative[:6], "...", *cumulative[-5:]]
        raise ValueError(
            f"cu_seqlens must increase from 0 to the number of tokens, {num_tokens}, without an empty sample; got "
            f"{shown}"
        )
    low, high = torch.stack(coords.aminmax()).tolist()
    if low < 0 or high >= MAX_COORDINATE:
        raise ValueError(f"coords must be in [0, {MAX_COORDINATE}), got values from {low} to {high}")
    return lengths


@dataclass
class TokenBatch:
    """
    Holds samples as packed tokens, of one full grid each (`grid` is set) or of any coordinates (`coords` is set).

    Attributes:
        features: (N, F).
        packed_lengths: tokens of each sample of a packed batch.
        grid: (latent frames, rows, columns) of every sample of a dense batch.
        coords: (N, 4) of a packed batch.
        handed: the layout of a packed batch, where whoever packed it has computed it.
    """

    features: torch.Tensor
    packed_lengths: list[int] | None = None
    grid: tuple[int, int, int] | None = None
    coords: torch.Tensor | None = None
    handed: PackedLayout | None = None

    @classmethod
    def from_grid(cls, features: torch.Tensor) -> "TokenBatch":
        """Takes (B, t, h, w, F)."""
        _, *grid, width = features.shape
        return cls(features.reshape(-1, width), grid=tuple(grid))

    @classmethod
    def from_packed(
        cls,
        features: torch.Tensor,
        coords: torch.Tensor,
        cu_seqlens: torch.Tensor,
        layout: PackedLayout | None = None,
    ) -> "TokenBatch":
        """
        Takes packed tokens.

        Args:
            features: (N, F).
            coords, cu_seqlens: (N, 4) and (B + 1,); with a layout they are not read.
            layout: of these tokens, where it has been computed already.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if layout is not None:
            if sum(layout.lengths) != features.shape[0]:
                raise ValueError(
                    f"layout must be that of the {features.shape[0]} tokens, got one of {sum(layout.lengths)}"
                )
            return cls(features, layout.lengths, coords=coords, handed=layout)
        lengths = check_packed(coords, cu_seqlens, features.shape[0])
        return cls(features, lengths, coords=coords.to(features.device))

    @property
    def num_samples(self) -> int:
        if self.grid is None:
            return len(self.packed_lengths)
        # By arithmetic, as in an exported program the number of samples is a symbol.
        return self.features.shape[0] // math.prod(self.grid)

    @property
    def lengths(self) -> list[int]:
        """Counts the tokens of each sample."""
        return self.packed_lengths if self.grid is None else [math.prod(self.grid)] * self.num_samples

    def layout(self, tile: int) -> TokenLayout:
        """Gives the layout in which temporal tiles of `tile` latent frames are independent sequences."""
        if self.grid is not None:
            return dense_layout(self.num_samples, self.grid, tile, self.features.device)
        if self.handed is not None:
            return self.handed.tokens
        return packed_layout(self.coords, self.lengths, tile)

    def packed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives coordinates (N, 4) and cumulative lengths (B + 1,) int32."""
        device = self.features.device
        if self.grid is not None:
            return pack_grids(self.num_samples, self.grid, device)
        return self.coords, PackedSequences.from_lengths(self.lengths, device).cu_seqlens_q

    def pooling_sequences(self) -> PackedSequences:
        """Gives sequences of one query for all tokens of each sample."""
        device = self.features.device
        if self.grid is not None:
            return PackedSequences([(self.num_samples, 1, math.prod(self.grid))], device)
        if self.handed is not None:
            return self.handed.pooling
        return PackedSequences.from_lengths([1] * self.num_samples, device, self.lengths)


def temporal_windows(batch: TokenBatch, stride: int):
    """
    Cuts a batch at the same latent frames, for processing in time order.

    Returns:
        The coordinates (N, 4) with t from 0 in each sample, the sample (N,) of each token, an order (N,) in which
        windows come one after another and samples are together within one, and for each window
        (first token, last token + 1, first latent frame, number of latent frames).
    """
    coords, _ = batch.packed()
    sample = sample_index(batch.lengths, coords.device)
    coords = from_first_frame(coords, sample, batch.num_samples)
    window = torch.div(coords[:, 0], stride, rounding_mode="floor")
    order = torch.argsort(window * batch.num_samples + sample, stable=True)
    ids, counts = torch.unique(window, return_counts=True)
    total = int(coords[:, 0].max()) + 1
    windows, first = [], 0
    for index, count in zip(ids.tolist(), counts.tolist(), strict=True):
        windows.append((first, first + count, index * stride, min(stride, total - index * stride)))
        first += count
    return coords, sample, order, windows


def pack_grids(batch: int, grid: tuple[int, int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives coordinates (N, 4) and cumulative lengths (B + 1,) int32 of `batch` full grids (frames, rows, columns)."""
    coords = grid_coords(grid, device).repeat(batch, 1)
    length = grid[0] * grid[1] * grid[2]
    return coords, torch.arange(batch + 1, device=device, dtype=torch.int32) * length


def patchify(video: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """
    Cuts (B, T, C, H, W) into patches (B, t, h, w, patch_dim), each flattened frame, row, column, channel.

    T is filled up with zeros (mid-gray) to a multiple of the patch's frames.

    Raises:
        ValueError: if H or W is not a multiple of the patch.
    """
    frames, height, width = patch_size
    batch, total, channels, rows, columns = video.shape
    if rows % height or columns % width:
        raise ValueError(
            f"pixel_values must have a height and width that are multiples of {height} and {width}, got {rows} x "
            f"{columns}; AtokenProcessor pads them and gives the true size back"
        )
    missing = -total % frames
    if missing:
        video = torch.nn.functional.pad(video, (0, 0, 0, 0, 0, 0, 0, missing))
    t, h, w = (total + missing) // frames, rows // height, columns // width
    video = video.reshape(batch, t, frames, channels, h, height, w, width)
    return video.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, t, h, w, frames * height * width * channels)


def unpatchify(patches: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """Puts patches (B, t, h, w, patch_dim) together again: (B, T, C, H, W)."""
    frames, height, width = patch_size
    batch, t, h, w, features = patches.shape
    channels = features // (frames * height * width)
    patches = patches.reshape(batch, t, h, w, frames, height, width, channels)
    return patches.permute(0, 1, 4, 7, 2, 5, 3, 6).reshape(batch, t * frames, channels, h * height, w * width)


def valid_pixels(
    coords: torch.Tensor, sample: torch.Tensor, media_sizes: torch.Tensor, patch_size: tuple[int, int, int]
) -> torch.Tensor:
    """
    Tells which values of packed patches lie inside the true media, and not in the padding.

    Args:
        coords: (N, 4).
        sample: (N,) the sample of each token.
        media_sizes: (B, 3) true frames, height, width.
        patch_size: frames, rows, columns of a patch.

    Returns:
        (N, frames, rows, columns, 1) bool, to be compared with `pixel_values` unflattened the same way.
    """
    sizes = media_sizes.to(coords.device)[sample]  # (N, 3)
    inside = [
        coords[:, axis, None] * patch_size[axis] + torch.arange(patch_size[axis], device=coords.device)
        < sizes[:, axis, None]
        for axis in range(3)
    ]
    t, x, y = inside
    return (t[:, :, None, None] & x[:, None, :, None] & y[:, None, None, :])[..., None]
