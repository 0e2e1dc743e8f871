"""The modes of Pillow's images: what their numbers are, as gray, RGB or CMYK with or without transparency."""

from dataclasses import replace

import numpy as np
from PIL import Image

from .color_spaces_atoken import ColorSpace
from .stored_pictures_atoken import StoredPicture, scale_to_sixteen_bits

_EXIF_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_GRAY_MODES = ("1", "L", "LA", "La")


def loaded_picture(
    image: Image.Image, colors: bytes | ColorSpace | None, name: str, deep: StoredPicture | None = None
) -> StoredPicture:
    """Gives the numbers of a loaded image as Pillow has them.

    Args:
        image: any mode except LAB and 32-bit integers.
        colors: what the numbers mean.
        name: what to call it in an error message.
        deep: the numbers, if they were read elsewhere with more bits.

    Raises:
        ValueError: the mode has no agreed white or no RGB.
    """
    picture = _numbers(image, name) if deep is None else deep
    return replace(picture, colors=colors, orientation=image.getexif().get(_EXIF_ORIENTATION, 1))


def _numbers(image: Image.Image, name: str) -> StoredPicture:
    mode, key = image.mode, image.info.get("transparency")
    # Pillow scales the values of a PGM to 16 bits and keeps them in 32.
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        gray = np.array(image).astype(np.uint16)
        alpha = np.where(gray == key, np.uint16(0), np.uint16(65535)) if isinstance(key, int) else None
        return StoredPicture(_as_white_says(image, gray)[..., None], alpha)
    if mode == "F":
        return StoredPicture(_as_white_says(image, np.array(image, dtype=np.float32))[..., None])
    if mode in ("I", "LAB"):
        meaning = "32-bit integers, which have no agreed white" if mode == "I" else "LAB colors"
        raise ValueError(
            f"{name} must be RGB, gray, palette, CMYK or 16-bit gray, got a Pillow image of mode {mode}, "
            f"{meaning}. Convert it, or pass the pixels as a uint16 array."
        )
    if mode == "CMYK":
        return StoredPicture(np.array(image))
    count = 1 if mode in _GRAY_MODES else 3
    # Pillow leaves a palette index behind as `transparency` when it converts a palette image to RGB.
    if mode in _ALPHA_MODES or (key is not None and (mode != "RGB" or isinstance(key, tuple))):
        image = image.convert("LA") if mode == "La" else image
        channels = np.array(image.convert("RGBA"))
        return StoredPicture(channels[..., :count], channels[..., 3])
    plain = "L" if count == 1 else "RGB"
    channels = np.array(image if mode == plain else image.convert(plain))
    return StoredPicture(channels.reshape(*channels.shape[:2], count))


def _as_white_says(image: Image.Image, gray: np.ndarray) -> np.ndarray:
    """Carry out what a TIFF says of its gray, and Pillow leaves undone: fewer bits than 16, and zero as white."""
    tags = getattr(image, "tag_v2", {})
    if gray.dtype == np.uint16:
        gray = scale_to_sixteen_bits(gray, 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1)
    if tags.get(_PHOTOMETRIC) == 0:
        return (65535 if gray.dtype == np.uint16 else np.float32(1)) - gray
    return gray
