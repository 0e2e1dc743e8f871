"""Opening pictures with Pillow without what Pillow does unasked: running other programs, and reading every tag."""

import io
from typing import Any

from PIL import Image, TiffImagePlugin

from .tag_directories_atoken import check_directories, jpeg_directories

_TIFF_PREFIXES = tuple(TiffImagePlugin.PREFIXES)
# Others draw them: Ghostscript runs the program that an EPS file is, and Windows plays a metafile.
_DRAWINGS = ("EPS", "WMF", "EMF")
DRAWING_REMEDY = "is a drawing and not a picture of pixels. Draw it to a PNG."


def open_picture(data: bytes, label: str = "it") -> Image.Image:
    """
    Opens a picture; its pixels are not decoded.

    Args:
        data: the whole file.
        label: what to call it in front of a message.

    Raises:
        ValueError: it is a drawing, or its tags hold much more than the file.
        Image.DecompressionBombError: it has more pixels than Pillow accepts.
        OSError, and what else Pillow raises: it is no picture, or damaged.
    """
    if data.startswith(_TIFF_PREFIXES):
        check_directories(data)
    elif data.startswith(b"\xff\xd8"):
        for block in jpeg_directories(data):
            check_directories(block)
    image = Image.open(io.BytesIO(data))
    check_opened(image, label)
    return image


def check_opened(image: Image.Image, label: str) -> None:
    """
    Checks a picture that Pillow has opened.

    Args:
        image: any.
        label: what to call it in front of a message.

    Raises:
        ValueError: it is a drawing, or its EXIF block holds much more than it is long.
    """
    if image.format in _DRAWINGS:
        raise ValueError(f"{label} {DRAWING_REMEDY}")
    exif: Any = image.info.get("exif")
    if isinstance(exif, bytes):
        try:
            check_directories(exif.removeprefix(b"Exif\0\0"))
        except ValueError as error:
            raise ValueError(f"{label} has EXIF that is damaged: {error}.") from error
