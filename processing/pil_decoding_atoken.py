"""One picture, a Pillow image of any mode or the numbers of a file, to an RGB tensor with its full precision."""

import numpy as np
import torch
from PIL import Image

from .color_management_atoken import colors_of_image, manage_colors
from .media_values_atoken import composite_on_white
from .picture_files_atoken import DECODING_ERRORS, check_still_image, file_of_image, read_picture
from .pil_modes_atoken import loaded_picture
from .stored_pictures_atoken import StoredPicture

__all__ = ["DECODING_ERRORS", "apply_orientation", "check_still_image", "pil_to_rgb", "stored_to_rgb"]

# Formats whose files say more than Pillow keeps when it loads them: bits, codes of colors, pages.
_READ_AGAIN = ("TIFF", "PNG", "PPM", "JPEG2000")


def pil_to_rgb(image: Image.Image, name: str, color_management: bool = True, planar: bool = True) -> torch.Tensor:
    """Decode a Pillow image.

    Gray is repeated, palettes are looked up, CMYK, YCbCr and HSV are converted, colors are brought into sRGB where a
    profile or the file says what they are, transparency of every kind is composited on white, and the EXIF orientation
    is carried out.

    Args:
        image: a still image of any mode except LAB and 32-bit integers.
        name: what to call it in an error message.
        color_management: False keeps the numbers as they are stored.
        planar: see `stored_to_rgb`.

    Returns:
        (3, H, W): uint8, uint16 for more than 8 bits per channel, or float32 for mode F (values as stored).

    Raises:
        ValueError: several frames, no pixels, an unsupported mode, or data that is truncated or corrupt.
    """
    check_still_image(image, name)
    try:
        is_unloaded = image.format in _READ_AGAIN and getattr(image, "tile", None)
        data = file_of_image(image) if is_unloaded else None
        if data is not None:
            picture = read_picture(data, name)
        else:
            _check_kept_bits(image, name)
            image.load()
            picture = loaded_picture(image, colors_of_image(image, b"", name), name)
    except DECODING_ERRORS as error:
        if isinstance(error, ValueError) and str(error).startswith(name):
            raise
        raise ValueError(f"{name}: cannot decode this picture, it is truncated or corrupt: {error}.") from error
    return stored_to_rgb(picture, name, color_management, planar)


def stored_to_rgb(
    picture: StoredPicture, name: str, color_management: bool = True, planar: bool = True
) -> torch.Tensor:
    """Carries out the colors, transparency and orientation of a picture.

    Args:
        picture: its numbers.
        name: what to call it in a warning.
        color_management: False keeps the numbers as they are stored.
        planar: whether the result is contiguous. False leaves the three values of a pixel side by side in memory where
            they are so already, which saves a copy and suits what reads pixel by pixel.

    Returns:
        (3, H, W) RGB of the type of the numbers.
    """
    color, alpha, premultiplied = picture.color, picture.alpha, picture.premultiplied
    if color_management and picture.colors is not None:
        if premultiplied and alpha is not None:
            color, premultiplied = _divide_by_alpha(color, alpha), False
        color = manage_colors(color, picture.colors, name)
    if color.shape[2] == 4:
        color = _cmyk_to_rgb(color)
    if alpha is not None and premultiplied:
        color = _add_white(color, alpha)
    if alpha is not None and not premultiplied:
        channels = np.concatenate([color.repeat(3 // color.shape[2], axis=2), alpha[..., None]], axis=2)
        pixels = composite_on_white(torch.from_numpy(channels).permute(2, 0, 1))
    else:
        pixels = torch.from_numpy(np.require(color, requirements="W")).permute(2, 0, 1)
    pixels = apply_orientation(pixels.expand(3, -1, -1), picture.orientation)
    return pixels.contiguous() if planar else pixels


def apply_orientation(media: torch.Tensor, orientation: int) -> torch.Tensor:
    """Turn (..., H, W) upright according to an EXIF orientation 1 to 8; other values leave it as it is."""
    if orientation in (5, 6, 7, 8):
        media = media.transpose(-1, -2)
    # After the transposition, what remains of each case is a mirroring of rows, columns or both.
    flips = {2: (-1,), 3: (-1, -2), 4: (-2,), 6: (-1,), 7: (-1, -2), 8: (-2,)}.get(orientation, ())
    return media.flip(flips) if flips else media


def _check_kept_bits(image: Image.Image, name: str) -> None:
    """Refuse to load color of 16 bits from a file that cannot be read twice, as Pillow would keep 8 of them."""
    raw_modes = [
        str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]) for tile in getattr(image, "tile", None) or []
    ]
    if not image.mode.startswith("I") and any(";16" in mode and not mode.startswith("BGR") for mode in raw_modes):
        raise ValueError(
            f"{name} must be given as its path or as a uint16 array, got a {image.format} with 16 bits per "
            "channel, of which Pillow would keep 8."
        )


def _white(values: np.ndarray) -> float | int:
    return 1.0 if values.dtype == np.float32 else int(np.iinfo(values.dtype).max)


def _divide_by_alpha(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undo a multiplication of colors by alpha."""
    share = alpha[..., None] / _white(alpha)
    straight = np.divide(color, share, out=np.zeros(color.shape), where=share > 0)
    if color.dtype != np.float32:
        straight = np.rint(straight).clip(0, _white(color))
    return straight.astype(color.dtype)


def _add_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Put colors that are multiplied by alpha on white."""
    white = _white(color)
    if color.dtype == np.float32:
        return color + (1 - alpha[..., None])
    return np.minimum(color.astype(np.uint32) + (white - alpha[..., None].astype(np.uint32)), white).astype(color.dtype)


def _cmyk_to_rgb(color: np.ndarray) -> np.ndarray:
    """Ink (H, W, 4) to RGB by the rule of Pillow, which multiplies what each ink and black let through."""
    if color.dtype == np.uint8:
        cmyk = Image.frombuffer("CMYK", color.shape[1::-1], np.ascontiguousarray(color), "raw", "CMYK", 0, 1)
        return np.array(cmyk.convert("RGB"))
    white = _white(color)
    light = (white - color.astype(np.float64)) / white
    rgb = light[..., :3] * light[..., 3:] * white
    return (np.rint(rgb) if color.dtype != np.float32 else rgb).astype(color.dtype)
