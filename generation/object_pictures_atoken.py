"""Pictures of one object each, cut out and placed as TRELLIS's generators of 3D objects see them."""

from typing import Any

import numpy as np
from PIL import Image

OPAQUE = 204  # alpha above which a pixel is of the object, 0.8 of 255
MARGIN = 1.2  # side of the picture, in sides of the object


def with_alpha(image: Any, mask: Any = None, name: str = "images") -> Image.Image:
    """
    Gives a picture whose alpha tells the object from what is behind it.

    Args:
        image: of Pillow, or uint8 (H, W, 3) or (H, W, 4).
        mask: of Pillow in one channel, or bool or uint8 (H, W), 255 where the object is; takes the place of alpha.
        name: how errors call the picture.

    Returns:
        The picture in mode RGBA.

    Raises:
        ValueError: it is no picture, or has neither alpha nor mask, or the mask has another size.
    """
    picture = _as_picture(image, name)
    if mask is not None:
        alpha = _as_mask(mask, name)
        if alpha.size != picture.size:
            raise ValueError(f"masks must have the size of {name}, {picture.size}, got {alpha.size}")
        picture = picture.convert("RGB")
        picture.putalpha(alpha)
        return picture
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        raise ValueError(
            f"{name} must have an alpha channel that is 0 behind the object, got mode {picture.mode}; remove the "
            "background first, or give masks"
        )
    picture = picture.convert("RGBA")
    if picture.getextrema()[3][0] == 255:
        raise ValueError(
            f"{name} must have an alpha channel that is 0 behind the object, got one that is 255 everywhere; remove "
            "the background first, or give masks"
        )
    return picture


def object_picture(picture: Image.Image, size: int, name: str = "images") -> np.ndarray:
    """
    Places an object in the middle of a black square, as TRELLIS does at sampling.

    Args:
        picture: in mode RGBA.
        size: side of the result in pixels.
        name: how errors call the picture.

    Returns:
        (size, size, 3) uint8.

    Raises:
        ValueError: there is no object in it.
    """
    left, top, right, bottom = _box(picture, OPAQUE, name)
    half = int(MARGIN * max(right - left, bottom - top)) // 2
    if half < 1:
        raise ValueError(f"{name} must show an object of more than two pixels along a side, got one that is smaller")
    across, down = (left + right) / 2, (top + bottom) / 2
    ends = (across - half, down - half, across + half, down + half)
    values = _resized(picture, tuple(round(end) for end in ends), size)  # half to even, as Pillow rounds a crop
    return (values[..., :3] * values[..., 3:] * 255).astype(np.uint8)


def training_picture(picture: Image.Image, size: int, name: str = "images") -> np.ndarray:
    """
    Places an object in the middle of a black square, as TRELLIS does in training; a little otherwise than at sampling.

    Args:
        picture: in mode RGBA.
        size: side of the result in pixels.
        name: how errors call the picture.

    Returns:
        (3, size, size) fp32 in [0, 1].

    Raises:
        ValueError: there is no object in it.
    """
    left, top, right, bottom = _box(picture, 0, name)
    half = MARGIN * max(right - left, bottom - top) / 2
    across, down = (left + right) / 2, (top + bottom) / 2
    ends = tuple(int(end) for end in (across - half, down - half, across + half, down + half))
    if ends[0] == ends[2] or ends[1] == ends[3]:
        raise ValueError(f"{name} must show an object of more than one pixel, got one that is smaller")
    values = _resized(picture, ends, size)
    return (values[..., :3] * values[..., 3:]).transpose(2, 0, 1)


def _resized(picture: Image.Image, box: tuple[int, ...], size: int) -> np.ndarray:
    """Gives (size, size, 4) fp32 in [0, 1]; Pillow weights colors by alpha in this mode, so they stay apart."""
    cut = picture.crop(box).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(cut, dtype=np.float32) / 255


def _box(picture: Image.Image, above: int, name: str) -> tuple[int, int, int, int]:
    """Gives the first and last column and row, left, top, right, bottom, with alpha above a value."""
    seen = np.asarray(picture.getchannel("A")) > above
    columns, rows = seen.any(0).nonzero()[0], seen.any(1).nonzero()[0]
    if not len(columns):
        raise ValueError(f"{name} must show an object, got alpha of at most {above} everywhere")
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _as_picture(image: Any, name: str) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4):
        return Image.fromarray(np.ascontiguousarray(image))
    given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise ValueError(f"{name} must be pictures of Pillow, or uint8 (H, W, 3) or (H, W, 4), got {given}")


def _as_mask(mask: Any, name: str) -> Image.Image:
    if isinstance(mask, Image.Image) and mask.mode in ("1", "L"):
        return mask.convert("L")
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.dtype in (np.bool_, np.uint8):
        return Image.fromarray(mask.astype(np.uint8) * 255 if mask.dtype == np.bool_ else np.ascontiguousarray(mask))
    given = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else getattr(mask, "mode", type(mask).__name__)
    raise ValueError(f"masks of {name} must be of Pillow in mode L or 1, or bool or uint8 (H, W), got {given}")
