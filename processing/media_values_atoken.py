"""The meaning of the numbers in an array: channel layout, channel count and value range, checked and never guessed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

# The largest value, which stands for white, of the integer types whose meaning is unambiguous.
_WHITE = {torch.uint8: 255, torch.uint16: 65535, torch.bool: 1}
_LAYOUTS = ("channels_first", "channels_last")


def as_media_tensor(value: Any, name: str) -> torch.Tensor:
    """Wrap a numpy array or torch tensor without changing its numbers.

    Args:
        value: uint8, uint16, bool or floating point, any shape without an empty axis.
        name: what to call it in an error message.

    Returns:
        A tensor of the same dtype and shape, detached from autograd.

    Raises:
        ValueError: another type or dtype, or an empty axis.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fbu" or value.dtype.itemsize > (8 if value.dtype.kind == "f" else 2):
            raise ValueError(_dtype_message(name, value.dtype))
        value = value.astype(value.dtype.newbyteorder("="), copy=False)
        # Torch shares memory with the array and would warn about read-only ones and refuse negative strides.
        value = torch.from_numpy(value.copy() if not value.flags.writeable else np.ascontiguousarray(value))
    elif not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} must be a numpy array or a torch tensor, got {type(value).__name__}.")
    if value.dtype not in _WHITE and not value.is_floating_point():
        raise ValueError(_dtype_message(name, value.dtype))
    if value.layout != torch.strided:
        raise ValueError(f"{name} must be dense, got a tensor with layout {value.layout}. Call to_dense().")
    if value.numel() == 0:
        raise ValueError(
            f"{name} must have sides of at least 1, got shape {tuple(value.shape)}, which holds no pixels."
        )
    return value.detach()


def on_device(media: torch.Tensor, device: str | torch.device | None) -> torch.Tensor:
    """Moves media to a device, None for none; float64 becomes float32 before, as not every device has it."""
    if device is None:
        return media
    return (media.to(torch.float32) if media.dtype == torch.float64 else media).to(device)


def channels_first(media: torch.Tensor, name: str, input_data_format: str | None = None) -> torch.Tensor:
    """Move the channels of (..., H, W, C) in front of height and width.

    Args:
        media: (C, H, W), (H, W, C), or the same with leading axes.
        name: what to call it in an error message.
        input_data_format: "channels_first" or "channels_last"; None finds the axis of 1, 3 or 4 channels, which must
            be the only candidate.

    Returns:
        (..., C, H, W) with C of 1, 3 or 4.

    Raises:
        ValueError: no axis can hold the channels, both can, or `input_data_format` names one that does not.
    """
    layout = check_input_data_format(input_data_format)
    shape = tuple(media.shape)
    candidates = [found for found, axis in zip(_LAYOUTS, (-3, -1), strict=True) if shape[axis] in (1, 3, 4)]
    if layout is None:
        if len(candidates) == 2:
            raise ValueError(
                f"{name} must come with input_data_format, as its channels could be the axis of {shape[-3]} or of "
                f'{shape[-1]}, got shape {shape}. Say "channels_first" or "channels_last".'
            )
        if candidates:
            layout = candidates[0]
    if layout not in candidates:
        stated = f" with input_data_format={layout!r}" if layout else ""
        raise ValueError(
            f"{name} must be 1, 3 or 4 channels (gray, RGB or RGBA), first or last, got shape {shape}{stated}."
        )
    return media if layout == "channels_first" else media.movedim(-1, -3)


def check_input_data_format(input_data_format: str | None) -> str | None:
    """Return the layout as a plain string or None; `ValueError` for anything but the two names."""
    layout = getattr(input_data_format, "value", input_data_format)
    if layout is not None and layout not in _LAYOUTS:
        raise ValueError(
            f'input_data_format must be None, "channels_first" or "channels_last", got {input_data_format!r}.'
        )
    return layout


def channels_to_rgb(media: torch.Tensor, name: str, signed: bool = False) -> torch.Tensor:
    """Make (..., C, H, W) with 1, 3 or 4 channels RGB; gray is repeated and alpha composited on white.

    `signed` says that floats lie in [-1, 1], where alpha has no agreed meaning: four channels are then an error.
    """
    channels = media.shape[-3]
    if channels == 1:
        return media.expand(*media.shape[:-3], 3, *media.shape[-2:])
    if channels == 4 and signed:
        raise ValueError(
            f"{name} must be RGB in [-1, 1], got four channels with do_rescale=False and do_normalize=False. "
            "Composite the alpha channel first."
        )
    return composite_on_white(media) if channels == 4 else media


def composite_on_white(rgba: torch.Tensor) -> torch.Tensor:
    """Blend (..., 4, H, W) over a white background into (..., 3, H, W) of the same dtype.

    Integers are rounded to nearest; opaque pixels come back unchanged. Floats are taken to lie in [0, 1].
    """
    if rgba.is_floating_point():
        color, alpha = rgba[..., :3, :, :], rgba[..., 3:, :, :]
        return color * alpha + (1 - alpha)
    white = _WHITE[rgba.dtype]
    wide = rgba.to(torch.int64)
    color, alpha = wide[..., :3, :, :], wide[..., 3:, :, :]
    return ((color * alpha + white * (white - alpha) + white // 2) // white).to(rgba.dtype)


def value_range(do_rescale: bool | None, rescale_factor: float, do_normalize: bool | None) -> tuple[int, int] | None:
    """Tells where values must lie before normalization: [0, 1], or [-1, 1] if neither step is wanted.

    None, for no limit, if the caller replaced the rescale factor and so defined the meaning of the numbers.
    """
    if do_rescale and not _is_default_factor(rescale_factor):
        return None
    return (0, 1) if do_rescale or do_normalize else (-1, 1)


def to_unit_values(
    media: torch.Tensor, name: str, do_rescale: bool | None, rescale_factor: float, do_normalize: bool | None
) -> torch.Tensor:
    """Turn pixel numbers into float32 in the range that `value_range` states.

    With `do_rescale` integers are divided by the white of their type (255, 65535, or 1 for bool), and floats, which
    must lie in [0, 1] already, stay as they are. A `rescale_factor` other than 1/255 multiplies all of them instead.

    Args:
        media: any shape; uint8, uint16, bool or floating point.
        name: what to call it in an error message.
        do_rescale: whether to rescale.
        rescale_factor: 1/255 for the rule above.
        do_normalize: whether normalization follows; without either step values are taken to lie in [-1, 1].

    Returns:
        float32, the shape of `media`.

    Raises:
        ValueError: NaN, infinite, or out of range.
    """
    values = media.to(torch.float32)
    if do_rescale and not _is_default_factor(rescale_factor):
        values = values * rescale_factor
    elif do_rescale and media.dtype in _WHITE:
        # In range by construction.
        return values / _WHITE[media.dtype]
    low, high = (bound.item() for bound in torch.aminmax(values))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} must be finite, got NaN or infinite values.")
    limits = value_range(do_rescale, rescale_factor, do_normalize)
    # Room for the rounding of a float16 or a resize, not for another range.
    slack = 1e-3 if media.dtype in (torch.float16, torch.bfloat16) else 1e-5
    if limits is not None and (low < limits[0] - slack or high > limits[1] + slack):
        raise ValueError(_range_message(name, media.dtype, low, high, limits, do_rescale))
    return values


def normalize_values(
    media: torch.Tensor, image_mean: float | Sequence[float], image_std: float | Sequence[float]
) -> torch.Tensor:
    """Computes (media - mean) / std for (..., 3, H, W) and statistics that are a number or one per channel."""
    mean, std = (
        torch.as_tensor(value, dtype=torch.float32, device=media.device).reshape(-1, 1, 1)
        for value in (image_mean, image_std)
    )
    return (media - mean).div_(std)


def check_statistics(image_mean: Any, image_std: Any) -> None:
    """Raises a ValueError unless mean and std are finite numbers, one or three each, and no std is 0."""
    for name, value in (("image_mean", image_mean), ("image_std", image_std)):
        numbers = np.asarray(value) if value is not None else np.zeros(0)
        ok = numbers.dtype.kind in "fiu" and numbers.size in (1, 3) and numbers.ndim < 2 and np.isfinite(numbers).all()
        if not ok or (name == "image_std" and not (numbers > 0).all()):
            positive = "positive " if name == "image_std" else ""
            raise ValueError(f"{name} must be one {positive}number or three, such as [0.5, 0.5, 0.5], got {value!r}.")


def _is_default_factor(rescale_factor: float) -> bool:
    return abs(rescale_factor * 255 - 1) < 1e-6


def _dtype_message(name: str, dtype: Any) -> str:
    return (
        f"{name} must be uint8 (0..255), uint16 (0..65535), bool or floats in [0, 1], got dtype {dtype}. "
        "Convert it, for example with .astype(np.uint8) or .to(torch.uint8)."
    )


def _range_message(
    name: str, dtype: torch.dtype, low: float, high: float, limits: tuple[int, int], do_rescale: bool | None
) -> str:
    message = f"{name} must be in {list(limits)}, got {dtype} values from {low:g} to {high:g}. "
    if limits == (-1, 1):
        return message + "With do_rescale=False and do_normalize=False values are used as they are."
    if not do_rescale:
        return message + "Leave do_rescale on for integers in 0..255."
    return message + (
        "Pass uint8 for 0..255, rescale floats to [0, 1], or, if they are normalized to [-1, 1] already, pass "
        "do_rescale=False and do_normalize=False."
    )
