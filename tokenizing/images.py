"""Image files as 8-bit RGB, whatever they hold: what corpora are made of and what models are compared by."""

from pathlib import Path

import torch

from atoken.processing.media_reading_atoken import check_file
from atoken.processing.media_values_atoken import to_unit_values
from atoken.processing.picture_files_atoken import read_picture
from atoken.processing.pil_decoding_atoken import stored_to_rgb


def read_image(media: Path | str | bytes, name: str = "media") -> torch.Tensor:
    """
    Reads an image, (3, H, W) uint8 RGB: upright, in sRGB, on white where it is transparent, more than 8 bits rounded.

    Args:
        media: the path of a file, or what is in it.
        name: what errors call it, where it has no path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, is damaged or holds several, or its floats lie outside of [0, 1].
        ImportError: a package that reads this format is not installed.
    """
    data = media if isinstance(media, bytes) else check_file(media, name).read_bytes()
    label = name if isinstance(media, bytes) else str(media)
    return to_eight_bits(stored_to_rgb(read_picture(data, label), label), label)


def to_eight_bits(pixels: torch.Tensor, name: str) -> torch.Tensor:
    """
    Rounds pixels to uint8 of the same shape; those that are uint8 come back as they are.

    Args:
        pixels: uint8, uint16, or floats in [0, 1].
        name: what errors call them.

    Raises:
        ValueError: floats are not finite or outside of [0, 1].
    """
    if pixels.dtype == torch.uint8:
        return pixels
    values = to_unit_values(pixels, name, do_rescale=True, rescale_factor=1 / 255, do_normalize=True)
    return (values * 255).round().clamp(0, 255).to(torch.uint8)
