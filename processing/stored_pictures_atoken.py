"""A picture as its file stores it: numbers, transparency, colors and orientation, before any of them is carried out."""

from dataclasses import dataclass

import numpy as np

from .color_spaces_atoken import ColorSpace


@dataclass(frozen=True)
class StoredPicture:
    """
    Holds the numbers of one picture and what its file says about them.

    Args:
        color: (H, W, C): gray (C = 1), RGB (3), or CMYK where the largest value is full ink (4); uint8, uint16, or
            float32 in [0, 1].
        alpha: (H, W) of the same type, or None for an opaque picture.
        premultiplied: whether the colors are multiplied by alpha already.
        colors: an ICC profile, a color space, or None for sRGB.
        orientation: the EXIF orientation, 1 to 8; other values count as 1.
    """

    color: np.ndarray
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    colors: bytes | ColorSpace | None = None
    orientation: int = 1


def scale_to_sixteen_bits(samples: np.ndarray, white: int) -> np.ndarray:
    """Scales integers from 0 to `white` to uint16 from 0 to 65535, rounded to nearest."""
    if white == 65535:
        return samples.astype(np.uint16)
    levels = (np.arange(white + 1, dtype=np.uint64) * 65535 + white // 2) // white
    return levels.astype(np.uint16)[np.minimum(samples, white)]
