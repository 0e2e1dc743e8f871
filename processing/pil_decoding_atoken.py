"""One Pillow image of any mode to an RGB tensor, with its full precision, transparency and orientation."""

import io
import struct
import sys
import zlib

import numpy as np
import torch
from PIL import Image

from .media_values_atoken import composite_on_white

_EXIF_ORIENTATION = 0x0112
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# What Pillow's decoders raise on broken data, next to OSError.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def check_still_image(image: Image.Image, name: str) -> None:
    """Raises a ValueError unless `image` has pixels and is a single picture."""
    if image.width == 0 or image.height == 0:
        raise ValueError(
            f"{name}: got a picture of {image.width}x{image.height} pixels; every side must be at least 1."
        )
    # A multi-picture JPEG, as cameras and telephones write, holds one photograph and its previews or depth maps.
    if image.format == "MPO":
        return
    try:
        frames = getattr(image, "n_frames", 1)
    except DECODING_ERRORS as error:
        raise ValueError(f"{name}: cannot count the frames of this {image.format} file: {error}.") from error
    if frames > 1:
        raise ValueError(
            f"{name} must be a still image, got a {image.format} with {frames} frames. Pass its path as "
            "videos=, or a copy() of the one frame that is meant."
        )


def pil_to_rgb(image: Image.Image, name: str) -> torch.Tensor:
    """Decode a Pillow image.

    Gray is repeated, palettes are looked up, transparency of every kind is composited on white, CMYK, YCbCr and HSV
    are converted as Pillow does (color profiles are not applied), and the EXIF orientation is carried out.

    Args:
        image: a still image of any mode except LAB and 32-bit integers.
        name: what to call it in an error message.

    Returns:
        (3, H, W): uint8, uint16 for 16 bits per channel, or float32 for mode F (values as stored).

    Raises:
        ValueError: several frames, no pixels, an unsupported mode, or data that is truncated or corrupt.
    """
    check_still_image(image, name)
    try:
        deep_file = _sixteen_bit_file(image, name)
        image.load()
        pixels = _decode_sixteen_bit(deep_file, name) if deep_file else _decode_loaded(image, name)
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _UnsupportedImage:
        raise
    except DECODING_ERRORS as error:
        raise ValueError(f"{name}: cannot decode this picture, it is truncated or corrupt: {error}.") from error
    return apply_orientation(pixels, orientation).contiguous()


def apply_orientation(media: torch.Tensor, orientation: int) -> torch.Tensor:
    """Turn (..., H, W) upright according to an EXIF orientation 1 to 8; other values leave it as it is."""
    if orientation in (5, 6, 7, 8):
        media = media.transpose(-1, -2)
    # After the transposition, what remains of each case is a mirroring of rows, columns or both.
    flips = {2: (-1,), 3: (-1, -2), 4: (-2,), 6: (-1,), 7: (-1, -2), 8: (-2,)}.get(orientation, ())
    return media.flip(flips) if flips else media


class _UnsupportedImage(ValueError):
    """A picture that is intact but cannot be represented."""


def _sixteen_bit_file(image: Image.Image, name: str) -> bytes | None:
    """The file of a picture with 16 bits per color channel that is not loaded yet; None for all others.

    Pillow has no such mode: loading it would keep 8 of the bits.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return None
    if not any(";16" in _raw_mode(tile) for tile in getattr(image, "tile", None) or []):
        return None
    file = getattr(image, "fp", None)
    if file is None or not file.seekable():
        raise _UnsupportedImage(
            f"{name} must be given as its path or as a uint16 array, got a {image.format} with 16 bits per "
            "channel, of which Pillow would keep 8."
        )
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def _decode_sixteen_bit(data: bytes, name: str) -> torch.Tensor:
    """(3, H, W) uint16, read in two passes: the upper bytes as Pillow does, the lower ones with swapped byte order."""
    first = Image.open(io.BytesIO(data))
    raw_mode = _raw_mode(first.tile[0])
    key = first.info.get("transparency")
    if raw_mode.startswith("LA;16") and first.mode == "RGBA":
        # Gray and alpha of two bytes each have the layout of four channels of one byte.
        channels = _load_raw(data, "RGBA").astype(np.uint16)
        pixels = channels[..., 0::2] * 256 + channels[..., 1::2]
        pixels = pixels[..., [0, 0, 0, 1]]
    else:
        swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
        if raw_mode[:-1] not in ("RGB;16", "RGBA;16") or raw_mode[-1] not in swapped:
            raise _UnsupportedImage(
                f"{name} must be RGB or RGBA of 16 bits, or the pixels as a uint16 array, got a {first.format} of "
                f"layout {raw_mode}, of which Pillow would keep 8 bits."
            )
        upper, lower = _load_raw(data, raw_mode), _load_raw(data, raw_mode[:-1] + swapped[raw_mode[-1]])
        pixels = upper.astype(np.uint16) * 256 + lower
    if pixels.shape[2] == 3 and isinstance(key, tuple):
        pixels = np.where((pixels == np.array(key)).all(axis=2, keepdims=True), np.uint16(65535), pixels)
    pixels = torch.from_numpy(pixels).permute(2, 0, 1)
    return composite_on_white(pixels) if pixels.shape[0] == 4 else pixels


def _raw_mode(tile: tuple) -> str:
    """The layout of the pixels in the file: the last entry of a Pillow tile, or the first of its arguments."""
    return str(tile[3][0] if isinstance(tile[3], tuple) else tile[3])


def _load_raw(data: bytes, raw_mode: str) -> np.ndarray:
    """Load a picture as if its file had the layout `raw_mode`, (H, W, C) uint8."""
    image = Image.open(io.BytesIO(data))
    tiles = []
    for tile in image.tile:
        arguments = (raw_mode, *tile[3][1:]) if isinstance(tile[3], tuple) else raw_mode
        # Recent versions of Pillow have named tuples here, older ones plain tuples.
        tiles.append(tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments))
    image.tile = tiles
    return np.array(image)


def _decode_loaded(image: Image.Image, name: str) -> torch.Tensor:
    mode, key = image.mode, image.info.get("transparency")
    # Old Pillow versions open 16-bit gray PNG files as 32-bit integers; no PNG holds 32 bits.
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        gray = np.array(image).astype(np.uint16)
        if isinstance(key, int):
            gray = np.where(gray == key, np.uint16(65535), gray)
        return torch.from_numpy(gray).expand(3, -1, -1)
    if mode == "F":
        return torch.from_numpy(np.array(image, dtype=np.float32)).expand(3, -1, -1)
    if mode in ("I", "LAB"):
        meaning = "32-bit integers, which have no agreed white" if mode == "I" else "LAB colors"
        raise _UnsupportedImage(
            f"{name} must be RGB, gray, palette, CMYK or 16-bit gray, got a Pillow image of mode {mode}, "
            f"{meaning}. Convert it, or pass the pixels as a uint16 array."
        )
    # Pillow leaves a palette index behind as `transparency` when it converts a palette image to RGB.
    if mode in _ALPHA_MODES or (key is not None and (mode != "RGB" or isinstance(key, tuple))):
        image = image.convert("LA") if mode == "La" else image
        return composite_on_white(_pixels(image.convert("RGBA")))
    return _pixels(image.convert("RGB"))


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
