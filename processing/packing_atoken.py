"""Packed batches: samples one after another, and back to a list of media."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from .patching_atoken import PATCH_SIZE, pad_and_patchify, unpatchify

PACKED_NAMES = ["pixel_values", "coords", "cu_seqlens", "media_sizes"]
MODEL_INPUT_NAMES = [*PACKED_NAMES, "pixel_mask", "is_video"]
OUTPUT_TYPES = ("pt", "np", "pil")


def check_return_tensors(return_tensors: str | None) -> str:
    """Return "pt" or "np" ("pt" for None); `ValueError` for any other framework."""
    name = "pt" if return_tensors is None else getattr(return_tensors, "value", return_tensors)
    if name not in ("pt", "np"):
        raise ValueError(f'return_tensors must be "pt" (the default) or "np", got {return_tensors!r}.')
    return name


def pack_media(media: Sequence[torch.Tensor], patch_size: Sequence[int] = PATCH_SIZE) -> dict[str, torch.Tensor]:
    """Tokenize samples and concatenate them.

    Args:
        media: one (T, C, H, W) float tensor in [-1, 1] per sample; sizes may differ.
        patch_size: (frames, rows, columns) of one patch.

    Returns:
        `pixel_values` (N, patch_dim), `coords` (N, 4) int64, `cu_seqlens` (B + 1,) int32 and `media_sizes` (B, 3)
        int64, the true (frames, height, width).
    """
    tokens = [pad_and_patchify(sample, patch_size) for sample in media]
    return join_packed(
        [
            {
                "pixel_values": pixel_values,
                "coords": coords,
                "cu_seqlens": torch.tensor([0, len(coords)], dtype=torch.int32, device=coords.device),
                "media_sizes": torch.tensor([[sample.shape[0], *sample.shape[2:]]], device=coords.device),
            }
            for sample, (pixel_values, coords) in zip(media, tokens, strict=True)
        ]
    )


def with_masks(
    packed: dict[str, torch.Tensor], is_video: bool, patch_size: Sequence[int] = PATCH_SIZE
) -> dict[str, torch.Tensor]:
    """
    Add what a packed batch of images, or of videos, says about itself beside its tokens.

    Returns:
        The batch with `pixel_mask` (N, frames * rows * columns) bool, True for pixels of the true media and False for
        padding, and `is_video` (B,) bool.
    """
    lengths = packed["cu_seqlens"].diff()
    sizes = packed["media_sizes"].repeat_interleave(lengths, dim=0, output_size=len(packed["coords"]))  # (N, 3)
    t, x, y = (
        packed["coords"][:, axis, None] * patch + torch.arange(patch, device=sizes.device) < sizes[:, axis, None]
        for axis, patch in enumerate(patch_size)
    )
    mask = t[:, :, None, None] & x[:, None, :, None] & y[:, None, None, :]
    return {
        **packed,
        "pixel_mask": mask.flatten(1),
        "is_video": torch.full((len(lengths),), is_video, device=sizes.device),
    }


def join_packed(batches: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Concatenate packed batches, keeping the order of their samples."""
    names = [name for name in MODEL_INPUT_NAMES if name in batches[0]]
    if len(batches) == 1:
        return {name: batches[0][name] for name in names}
    lengths = torch.cat([batch["cu_seqlens"].diff() for batch in batches])
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in names if name != "cu_seqlens"}
    joined["cu_seqlens"] = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return {name: joined[name] for name in names}


def unpack_media(
    pixel_values: torch.Tensor,
    coords: torch.Tensor,
    cu_seqlens: torch.Tensor,
    media_sizes: torch.Tensor,
    patch_size: Sequence[int] = PATCH_SIZE,
) -> list[torch.Tensor]:
    """Split a packed batch of images and videos into its samples: the exact inverse of `pack_media`.

    Args:
        pixel_values: (N, patch_dim).
        coords: (N, 4) integer.
        cu_seqlens: (B + 1,) integer, from 0 to N.
        media_sizes: (B, 3) integer, the true (frames, height, width).
        patch_size: (frames, rows, columns) of one patch.

    Returns:
        One (T, C, H, W) tensor per sample, in the dtype of `pixel_values`.

    Raises:
        ValueError: the four arguments do not fit together.
    """
    samples = split_packed(pixel_values, coords, cu_seqlens, media_sizes)
    return [unpatchify(tokens, places, size, patch_size) for tokens, places, size in samples]


def split_packed(
    pixel_values: torch.Tensor, coords: torch.Tensor, cu_seqlens: torch.Tensor, media_sizes: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor, list[int]]]:
    """Splits a packed batch into its samples: the tokens (L, patch_dim), coords (L, 4) and size of each.

    Raises:
        ValueError: the four arguments do not fit together.
    """
    pixel_values, coords, cu_seqlens, media_sizes = (
        _as_tensor(name, value)
        for name, value in zip(PACKED_NAMES, (pixel_values, coords, cu_seqlens, media_sizes), strict=True)
    )
    if not pixel_values.is_floating_point() or pixel_values.ndim != 2:
        raise ValueError(
            f"pixel_values must be floats (N, patch_dim), got {pixel_values.dtype} {tuple(pixel_values.shape)}."
        )
    for name, tensor in (("coords", coords), ("cu_seqlens", cu_seqlens), ("media_sizes", media_sizes)):
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise ValueError(f"{name} must be integers, got {tensor.dtype}.")
    bounds = cu_seqlens.tolist() if cu_seqlens.ndim == 1 else []
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != len(pixel_values) or sorted(bounds) != bounds:
        raise ValueError(
            f"cu_seqlens must be (B + 1,) growing integers from 0 to {len(pixel_values)}, the rows of "
            f"pixel_values, got {bounds or tuple(cu_seqlens.shape)}."
        )
    if media_sizes.ndim != 2 or media_sizes.shape != (len(bounds) - 1, 3):
        raise ValueError(
            f"media_sizes must be ({len(bounds) - 1}, 3), one (frames, height, width) for each sample of "
            f"cu_seqlens, got shape {tuple(media_sizes.shape)}."
        )
    if len(coords) != len(pixel_values):
        raise ValueError(f"coords must be {len(pixel_values)}, one per row of pixel_values, got {len(coords)} rows.")
    return [
        (pixel_values[start:stop], coords[start:stop], size)
        for start, stop, size in zip(bounds[:-1], bounds[1:], media_sizes.tolist(), strict=True)
    ]


@torch.no_grad()
def media_to_output(
    media: torch.Tensor,
    output_type: str,
    image_mean: float | Sequence[float],
    image_std: float | Sequence[float],
) -> torch.Tensor | np.ndarray | list[Image.Image]:
    """Undo the normalization of one sample and give it the type a caller wants.

    Args:
        media: (T, 3, H, W), any floating point dtype, normalized as the model sees it.
        output_type: "pt", "np" or "pil".
        image_mean: mean that was subtracted, a number or one per channel.
        image_std: standard deviation that was divided by, a number or one per channel.

    Returns:
        "pt": float32 (T, 3, H, W) in [0, 1], clamped, since a decoder may overshoot. "np": uint8 (T, H, W, 3), rounded.
        "pil": a list of T images.

    Raises:
        ValueError: unknown `output_type`, or values that are not finite.
    """
    check_output_type(output_type)
    values = media.float()
    if not torch.isfinite(values).all():
        raise ValueError(
            "pixel_values must be finite, got NaN or infinite values. Decode in float32 or bfloat16 if "
            "float16 overflows."
        )
    mean, std = (torch.as_tensor(value, device=values.device).reshape(-1, 1, 1) for value in (image_mean, image_std))
    values = (values * std.float()).add_(mean.float()).clamp_(0, 1)
    if output_type == "pt":
        return values
    array = values.mul_(255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array if output_type == "np" else [Image.fromarray(frame) for frame in array]


def check_output_type(output_type: str) -> None:
    """Raises a ValueError unless `output_type` is one of "pt", "np" and "pil"."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f'output_type must be "pt", "np" or "pil", got {output_type!r}.')


def _as_tensor(name: str, value: object) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return torch.from_numpy(np.array(value))
    raise ValueError(f"{name} must be a torch tensor or a numpy array, got {type(value).__name__}.")
