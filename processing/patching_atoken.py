"""Media to patches and back: the arithmetic between a (T, C, H, W) tensor and its tokens.

A token is one patch of `patch_size` = (frames, rows, columns), flattened as (frame, row, column, channel). Its
coordinates are [t, x, y, z]: t counts patches in time, x patch rows, y patch columns, and z is 0 for images and videos.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

PATCH_SIZE = (4, 16, 16)


def check_patch_size(patch_size: Sequence[int]) -> tuple[int, int, int]:
    """Return `patch_size` as a tuple (frames, rows, columns); `ValueError` unless it is three positive integers."""
    sizes = tuple(patch_size) if isinstance(patch_size, (list, tuple)) else ()
    if len(sizes) != 3 or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"patch_size must be three positive integers (frames, rows, columns), got {patch_size!r}.")
    return sizes


def grid_size(media_size: Sequence[int], patch_size: Sequence[int] = PATCH_SIZE) -> tuple[int, int, int]:
    """Counts patches in time, rows and columns for media of (frames, height, width), padding included."""
    return tuple(-(-int(side) // patch) for side, patch in zip(media_size, patch_size, strict=True))


def pad_and_patchify(media: torch.Tensor, patch_size: Sequence[int] = PATCH_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut media into tokens, padding what does not fill a patch.

    Height and width are padded at the bottom and right by repeating the edge, then time is padded at the end with
    zeros, which is mid-gray in the normalized range. Nothing is cropped or dropped.

    Args:
        media: (T, C, H, W) floating point, values in [-1, 1]; an image has T = 1.
        patch_size: (frames, rows, columns) of one patch.

    Returns:
        `pixel_values` (N, frames * rows * columns * C) in the dtype of `media`, and `coords` (N, 4) int64, ordered by
        t, then x, then y.

    Raises:
        ValueError: `media` is not a non-empty floating point tensor with four axes, or `patch_size` is malformed.
    """
    frames, rows, columns = check_patch_size(patch_size)
    if not isinstance(media, torch.Tensor) or media.ndim != 4 or not media.is_floating_point():
        given = f"{media.dtype} {tuple(media.shape)}" if isinstance(media, torch.Tensor) else type(media).__name__
        raise ValueError(
            f"media must be a floating point tensor (T, C, H, W) in [-1, 1], got {given}. Use "
            "AtokenImageProcessor or AtokenVideoProcessor for anything else."
        )
    if media.numel() == 0:
        raise ValueError(f"media must have sides of at least 1, got shape {tuple(media.shape)}, which holds no pixels.")

    length, channels, height, width = media.shape
    grid_t, grid_x, grid_y = grid_size((length, height, width), (frames, rows, columns))
    bottom, right, end = grid_x * rows - height, grid_y * columns - width, grid_t * frames - length
    if bottom or right:
        media = F.pad(media, (0, right, 0, bottom), mode="replicate")
    if end:
        media = F.pad(media, (0, 0, 0, 0, 0, 0, 0, end))

    patches = media.reshape(grid_t, frames, channels, grid_x, rows, grid_y, columns)
    pixel_values = patches.permute(0, 3, 5, 1, 4, 6, 2).reshape(grid_t * grid_x * grid_y, -1)
    axes = [torch.arange(size, device=media.device) for size in (grid_t, grid_x, grid_y, 1)]
    return pixel_values, torch.cartesian_prod(*axes)


def unpatchify(
    pixel_values: torch.Tensor,
    coords: torch.Tensor,
    media_size: Sequence[int],
    patch_size: Sequence[int] = PATCH_SIZE,
) -> torch.Tensor:
    """Put the tokens of one sample back together: the exact inverse of `pad_and_patchify`.

    Tokens are placed by their coordinates, so their order does not matter. Differentiable in `pixel_values`.

    Args:
        pixel_values: (N, frames * rows * columns * C).
        coords: (N, 4) integer [t, x, y, z].
        media_size: the true (frames, height, width), to which the padding is cut away.
        patch_size: (frames, rows, columns) of one patch.

    Returns:
        (T, C, H, W) in the dtype of `pixel_values`.

    Raises:
        ValueError: shapes do not fit together, or tokens are missing, duplicated or outside `media_size`.
    """
    frames, rows, columns = check_patch_size(patch_size)
    size = tuple(int(side) for side in media_size)
    if len(size) != 3 or min(size) < 1:
        raise ValueError(f"media_size must be positive (frames, height, width), got {size}.")
    if pixel_values.ndim != 2 or pixel_values.shape[1] % (frames * rows * columns):
        raise ValueError(
            f"pixel_values must be (N, patch_dim), patch_dim a multiple of {frames * rows * columns}, the "
            f"pixels of a {frames}x{rows}x{columns} patch, got shape {tuple(pixel_values.shape)}."
        )
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.is_floating_point() or coords.dtype == torch.bool:
        raise ValueError(
            f"coords must be an integer tensor (N, 4) of [t, x, y, z], got {coords.dtype} {tuple(coords.shape)}."
        )
    if len(coords) != len(pixel_values):
        raise ValueError(
            f"coords must be one per token, got {len(coords)} rows for {len(pixel_values)} rows of pixel_values."
        )
    grid = grid_size(size, (frames, rows, columns))
    index = _grid_index(coords.to(pixel_values.device, torch.int64), grid, size)

    channels = pixel_values.shape[1] // (frames * rows * columns)
    ordered = torch.empty_like(pixel_values).index_copy(0, index, pixel_values)
    patches = ordered.reshape(*grid, frames, rows, columns, channels).permute(0, 3, 6, 1, 4, 2, 5)
    media = patches.reshape(grid[0] * frames, channels, grid[1] * rows, grid[2] * columns)
    return media[: size[0], :, : size[1], : size[2]].contiguous()


def _grid_index(coords: torch.Tensor, grid: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    """Position (N,) of each token in the flattened grid; `ValueError` unless the tokens fill the grid exactly once."""
    expected = grid[0] * grid[1] * grid[2]
    where = f"media_sizes (frames, height, width) = {size} needs t < {grid[0]}, x < {grid[1]}, y < {grid[2]}, z = 0"
    limits = torch.tensor([*grid, 1], device=coords.device)
    outside = ((coords < 0) | (coords >= limits)).any(dim=1)
    if outside.any():
        first = coords[outside][0].tolist()
        raise ValueError(f"coords: token {first} lies outside the media; {where}. Pass the media_sizes of this sample.")
    index = (coords[:, 0] * grid[1] + coords[:, 1]) * grid[2] + coords[:, 2]
    counts = torch.bincount(index, minlength=expected)
    if (counts > 1).any():
        first = coords[counts[index] > 1][0].tolist()
        raise ValueError(f"coords: token {first} is duplicated; {where}, each exactly once.")
    if len(index) != expected:
        raise ValueError(
            f"coords: {expected - len(index)} of {expected} tokens are missing; {where}, each exactly once."
        )
    return index
