"""The colors of decoded frames as 8-bit RGB: matrix and range, transparency, wide color and light."""

from typing import Any, NamedTuple

import numpy as np
import torch

from .hdr_video_atoken import HDR_TRANSFERS, WIDE_PRIMARIES, to_srgb
from .media_values_atoken import composite_on_white

# FFmpeg's numbers, which are those of ITU-T H.273.
_UNSPECIFIED, _RESERVED = 2, 3
_BT709, _BT2020, _BT2020_CONSTANT_LUMINANCE = 1, 9, 10
_FULL_RANGE = 2
# Matrices that libswscale does not have: by the primaries, which are then BT.709's or BT.2020's, and others.
_BY_PRIMARIES = (12, 13)
_OTHER_MATRICES = {8: "YCgCo", 11: "SMPTE ST 2085", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}


class ColorTags(NamedTuple):
    """What a stream says of its colors, as FFmpeg's numbers."""

    matrix: int
    range: int
    transfer: int
    primaries: int

    @classmethod
    def of(cls, tagged: Any) -> "ColorTags":
        """Reads the tags of PyAV's frame or codec context."""
        return cls(tagged.colorspace, tagged.color_range, tagged.color_trc, tagged.color_primaries)

    def or_else(self, other: "ColorTags") -> "ColorTags":
        """Fills in what is not specified."""
        return ColorTags(
            self.matrix if self.matrix != _UNSPECIFIED else other.matrix,
            self.range or other.range,
            self.transfer if self.transfer != _UNSPECIFIED else other.transfer,
            self.primaries if self.primaries != _UNSPECIFIED else other.primaries,
        )

    def conversion(self) -> str | None:
        """Says in words how colors are brought into sRGB beyond the matrix; None if they are not."""
        if self.transfer in HDR_TRANSFERS:
            return f"is HDR video with the transfer function {HDR_TRANSFERS[self.transfer]}; it is tone-mapped to sRGB"
        if self.primaries in WIDE_PRIMARIES:
            return (
                f"has the wide color primaries {WIDE_PRIMARIES[self.primaries]}; colors are converted to BT.709, and "
                "those that it does not have are clipped"
            )
        return None


def frame_to_rgb(frame: Any, tags: ColorTags, label: str, alpha_may_be_unused: bool = False) -> np.ndarray:
    """Converts PyAV's frame to (H, W, 3) uint8, transparency on white.

    Args:
        frame: any pixel format; its tags are set to those that are used.
        tags: those of the frame, or of its stream where it has none.
        label: what to call the file in an error message.
        alpha_may_be_unused: whether an alpha of 0 everywhere means that the file only has room for one.

    Raises:
        ValueError: the colors have a matrix that cannot be converted.
    """
    if not frame.format.is_rgb:
        _set_matrix_and_range(frame, tags, label)
    if tags.conversion() is None:
        rgb = frame.to_ndarray(format="rgb24")
    else:
        rgb = to_srgb(frame.to_ndarray(format="rgb48le"), _white_of_16_bits(frame), tags.transfer, tags.primaries)
    if not has_alpha(frame.format):
        return rgb
    alpha = _alpha(frame)
    if alpha.min() == 255 or (alpha_may_be_unused and alpha.max() == 0):
        return rgb
    rgba = torch.from_numpy(np.concatenate([rgb, alpha], axis=-1))
    return composite_on_white(rgba.movedim(-1, 0)).movedim(0, -1).numpy()


def has_alpha(pixel_format: Any) -> bool:
    """Tells whether pixels, or the entries of a palette, have an alpha channel."""
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def _set_matrix_and_range(frame: Any, tags: ColorTags, label: str) -> None:
    matrix = tags.matrix
    if matrix in _OTHER_MATRICES:
        raise ValueError(
            f"{label} must have colors with a matrix of BT.601, BT.709 or BT.2020, got {_OTHER_MATRICES[matrix]}. "
            "Re-encode it."
        )
    if matrix in _BY_PRIMARIES:
        matrix = _BT2020 if tags.primaries == _BT2020 else _BT709
    elif matrix == _BT2020_CONSTANT_LUMINANCE or (matrix == _UNSPECIFIED and tags.transfer in HDR_TRANSFERS):
        matrix = _BT2020
    elif matrix == _RESERVED:
        matrix = _UNSPECIFIED
    if matrix != frame.colorspace:
        frame.colorspace = matrix
    if tags.range != frame.color_range:
        frame.color_range = tags.range


def _white_of_16_bits(frame: Any) -> int:
    """The code of white when libswscale makes 16 bits of a frame: it shifts, and does not stretch."""
    bits = max(component.bits for component in frame.format.components)
    if frame.format.is_rgb:
        return 255 << 8 if bits == 8 and frame.format.is_planar else 65535
    if frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj"):
        return ((1 << bits) - 1) << (16 - bits)
    return 255 << 8


def _alpha(frame: Any) -> np.ndarray:
    """(H, W, 1) uint8, to be used as straight alpha: FFmpeg's decoders do not say if colors are premultiplied."""
    if all(component.bits <= 8 for component in frame.format.components):
        return frame.to_ndarray(format="rgba")[..., 3:]
    deep = frame.to_ndarray(format="rgba64le")[..., 3:].astype(np.uint32)
    bits = max(component.bits for component in frame.format.components if component.is_alpha)
    white = 65535 if frame.format.is_rgb or bits > 16 else ((1 << bits) - 1) << (16 - bits)
    return ((deep * 255 + white // 2) // white).clip(max=255).astype(np.uint8)
