"""Pictures and frames to the rows that the model takes: exact values, resizing, patches of single frames."""

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.transforms.v2 import functional as tvF
from transformers.image_utils import SizeDict

from .sizes_llava_atoken import fitted_size


def check_values(pixels: torch.Tensor, name: str, do_rescale: bool | None) -> torch.Tensor:
    """
    Gives pixels as float32 on the scale of 0 to 255 where they are to be rescaled, and as they are otherwise.

    Raises:
        ValueError: if there are no pixels, or they are neither uint8 nor floats in [0, 1].
    """
    if pixels.numel() == 0:
        raise ValueError(f"{name} must hold pixels, got an array of shape {tuple(pixels.shape)}")
    if not do_rescale:
        return pixels.float()
    if pixels.dtype == torch.uint8:
        return pixels.float()
    if not pixels.is_floating_point():
        raise ValueError(f"{name} must be uint8 or floats in [0, 1], got {pixels.dtype}. Convert them first.")
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name} must be floats in [0, 1], got values from {low:g} to {high:g}. Divide by their white."
        )
    return pixels.float() * 255


def resize_frames(
    backend: Any, frames: torch.Tensor, do_resize: bool | None, size: SizeDict, multiple: int, resample: Any
) -> torch.Tensor:
    """
    Resizes (T, 3, H, W) to the size of `fitted_size`, antialiased.

    Raises:
        ValueError: if `size` states no bounds, or the frames are not to be resized and do not fit.
    """
    height, width = frames.shape[-2:]
    target = target_size(height, width, do_resize, size, multiple)
    if target == (height, width):
        return frames
    low, high = frames.aminmax()
    resized = backend.resize(frames, SizeDict(height=target[0], width=target[1]), resample=resample, antialias=True)
    return resized.clamp(low, high)  # bicubic interpolation overshoots at edges


def target_size(height: int, width: int, do_resize: bool | None, size: Any, multiple: int) -> tuple[int, int]:
    """
    Gives the height and width that media of a size get.

    Raises:
        ValueError: if `size` states no bounds, or the media are not to be resized and do not fit.
    """
    if do_resize is False:
        if height % multiple or width % multiple:
            raise ValueError(
                f"do_resize must be True for media whose sides are not multiples of {multiple}, got False for "
                f"{height} x {width}"
            )
        return height, width
    low, high = size.get("min_pixels"), size.get("max_pixels")
    if high is None:
        raise ValueError(f'size must be {{"min_pixels": ..., "max_pixels": ...}}, got {dict(size)}')
    return fitted_size(height, width, multiple, low or 0, high)


def packed_patches(
    backend: Any,
    media: Sequence[torch.Tensor],
    do_resize: bool | None,
    size: SizeDict,
    resample: Any,
    do_rescale: bool | None,
    rescale_factor: float,
    do_normalize: bool | None,
    image_mean: float | Sequence[float],
    image_std: float | Sequence[float],
    patch_size: int,
    size_multiple: int,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Makes the rows of media, with the options of an image or a video processor.

    Args:
        backend: the processor, which resizes.
        media: (T, 3, H, W) float32 each, T = 1 of a picture.
        kwargs: other options, which change nothing here.

    Returns:
        All patches (N, patch_size ** 2 * 3), and frames, patch rows and patch columns of each medium (n, 3).

    Raises:
        ValueError: naming the option that does not fit.
    """
    check_multiple(patch_size, size_multiple)
    rows, grids = [], []
    for frames in media:
        if frames.shape[1] != 3:
            raise ValueError(f"do_convert_rgb must be True for media that are not RGB, got {frames.shape[1]} channels")
        frames = resize_frames(backend, frames, do_resize, size, size_multiple, resample)
        if do_rescale:
            frames = frames * rescale_factor
        if do_normalize:
            frames = tvF.normalize(frames, image_mean, image_std)
        rows.append(patchify(frames, patch_size))
        grids.append([len(frames), frames.shape[-2] // patch_size, frames.shape[-1] // patch_size])
    return torch.cat(rows), torch.tensor(grids)


def patchify(frames: torch.Tensor, patch: int) -> torch.Tensor:
    """Cuts (T, 3, H, W) into rows (T * H / patch * W / patch, patch * patch * 3), each of row, column and channel."""
    count, channels, height, width = frames.shape
    cut = frames.reshape(count, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(-1, patch * patch * channels)


def check_multiple(patch: int, multiple: int) -> None:
    """Raises a ValueError unless patches fill media whose sides are multiples of `multiple`."""
    if patch < 1 or multiple < 1 or multiple % patch:
        raise ValueError(f"size_multiple must be a multiple of patch_size, got {multiple} and {patch}")


__all__ = ["check_multiple", "check_values", "packed_patches", "patchify", "resize_frames", "target_size"]
