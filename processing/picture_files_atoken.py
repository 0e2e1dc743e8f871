"""Picture files: what a file holds by its first bytes, and the one picture in it."""

import struct
import zlib
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError

from .color_management_atoken import colors_of_image
from .deep_pictures_atoken import JP2_PREFIXES, jpeg2000_profile, read_deep_picture
from .heif_pictures_atoken import HEIF_BRANDS, is_heif, read_heif
from .picture_opening_atoken import DRAWING_REMEDY, check_opened, open_picture
from .pil_modes_atoken import loaded_picture
from .png_chunks_atoken import check_pixels
from .size_limits_atoken import bomb_text
from .stored_pictures_atoken import StoredPicture
from .tiff_pages_atoken import RAW_REMEDY, TIFF_PREFIXES, picture_page, with_first_page
from .tiff_samples_atoken import read_deep_tiff

# What Pillow's decoders raise on broken data, next to OSError.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Files of one photograph together with its previews, depth maps or layers: Pillow shows the photograph.
_ONE_PICTURE_FORMATS = ("MPO", "PSD", "HEIF")
# Files that are read as videos if they hold several pictures.
_MOVING_FORMATS = ("GIF", "PNG", "WEBP", "AVIF", "FLI")
# What to say about files that Pillow does not read, by their first bytes.
_UNREAD = {
    (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"): (
        "is a JPEG XL picture, which Pillow reads after pip install pillow-jxl-plugin and import pillow_jxl. Or "
        "convert it to JPEG or PNG."
    ),
    (b"\x76\x2f\x31\x01",): "is an OpenEXR picture, which is not read. Pass its pixels as a float array in [0, 1].",
    (b"#?RADIANCE", b"#?RGBE"): (
        "is a Radiance HDR picture, which is not read. Pass its pixels as a float array in [0, 1]."
    ),
    (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00", b"FOVb", b"\x00MRM"): RAW_REMEDY,
    (b"8BPS",): "is a Photoshop file of a kind that Pillow does not read. Save it as a PNG or a TIFF.",
    (b"%PDF",): DRAWING_REMEDY,
    (b"\x1a\x45\xdf\xa3", b"OggS", b"FLV\x01", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba"): (
        "is not an image but a video: pass it as videos=."
    ),
}


# Height and width of a picture -> the rows and columns of it that are needed at least.
Needed = Callable[[int, int], tuple[int, int]]


def read_picture(data: bytes, label: str, needed: Needed | None = None) -> StoredPicture:
    """Reads the picture in a file.

    Args:
        data: the whole file, of any format that Pillow reads, or HEIC.
        label: what to call it in an error message.
        needed: is asked about a JPEG before it is decoded, which is then done at a half, a quarter or an eighth of its
            size where that is enough; without it, and of other formats, all pixels come.

    Raises:
        ValueError: not a picture, several of them, truncated, corrupt, or of a kind that is not read.
        ImportError: a package for this format is not installed.
    """
    try:
        if is_heif(data[:64]):
            return read_heif(data, label)
        if data.startswith(TIFF_PREFIXES):
            page = picture_page(data, label)
            deep = read_deep_tiff(data, page, label)
            if deep is not None:
                return deep
            data = with_first_page(data, page)
        with _open(data, label) as image:
            if needed is not None and image.format == "JPEG":
                rows, columns = needed(image.height, image.width)
                image.draft(None, (columns, rows))
            return _read_opened(image, data, label)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{label}: {bomb_text(error)}") from error
    except DECODING_ERRORS as error:
        if isinstance(error, ValueError) and str(error).startswith(label):
            raise
        raise ValueError(f"{label}: cannot decode this picture, it is truncated or corrupt: {error}.") from error


def check_still_image(image: Image.Image, name: str) -> None:
    """Raises a ValueError unless Pillow's `image` has pixels and is a single picture of pixels, not a drawing."""
    check_opened(image, name)
    if image.width == 0 or image.height == 0:
        raise ValueError(
            f"{name}: got a picture of {image.width}x{image.height} pixels; every side must be at least 1."
        )
    if image.format in _ONE_PICTURE_FORMATS:
        return
    try:
        if image.format == "TIFF" and image.tell() == 0:
            # Its pages may be smaller copies of the first; a file that is closed shows one page alone.
            data = file_of_image(image)
            if data is not None:
                picture_page(data, name)
            return
        frames = getattr(image, "n_frames", 1)
    except DECODING_ERRORS as error:
        if isinstance(error, ValueError) and str(error).startswith(name):
            raise
        raise ValueError(f"{name}: cannot count the frames of this {image.format} file: {error}.") from error
    if frames > 1:
        as_video = "its path as videos=, or " if image.format in _MOVING_FORMATS else ""
        raise ValueError(
            f"{name} must be a still image, got a {image.format} with {frames} frames. Pass {as_video}a copy() of the "
            "one frame that is meant."
        )


def file_of_image(image: Image.Image) -> bytes | None:
    """Gives the whole file of an opened image, or None if it is closed or cannot be read again."""
    file = getattr(image, "fp", None)
    if file is None or file.closed or not file.seekable():
        return None
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def refuse_as_video(head: bytes, label: str) -> None:
    """Raises a ValueError if a file begins as one of the pictures and drawings that video readers take for a video."""
    if head[4:12] == b"ftypcrx ":
        raise ValueError(f"{label} {RAW_REMEDY}")
    if head.startswith((b"\x00\x00\x01\x00", b"\x00\x00\x02\x00")):
        raise ValueError(f"{label} is a still image; expected a video. Pass it as images=.")
    if head.startswith(b"%PDF"):
        raise ValueError(f"{label} is a document; expected a video.")


def _open(data: bytes, label: str) -> Image.Image:
    try:
        return open_picture(data, label)
    except UnidentifiedImageError as error:
        raise ValueError(f"{label} {_what_it_is(data)}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{label}: {bomb_text(error)}") from error
    except DECODING_ERRORS as error:
        if isinstance(error, ValueError) and str(error).startswith(label):
            raise
        raise ValueError(f"{label} cannot be opened as an image: {error}.") from error


def _read_opened(image: Image.Image, data: bytes, label: str) -> StoredPicture:
    if image.format != "TIFF":
        check_still_image(image, label)
    if image.format == "PNG":
        check_pixels(data)
    deep = read_deep_picture(image, data, label)
    if deep is None:
        image.load()
    if data.startswith(JP2_PREFIXES) and "icc_profile" not in image.info:
        image.info["icc_profile"] = jpeg2000_profile(data)
    return loaded_picture(image, colors_of_image(image, data, label), label, deep)


def _what_it_is(data: bytes) -> str:
    """Say what a file is that Pillow does not know, and what to do."""
    if data[4:8] == b"ftyp":
        if data[8:12] in (b"avif", b"avis", *HEIF_BRANDS):
            return "is an AVIF picture of a kind that Pillow does not read, or corrupt. Convert it to PNG or JPEG."
        return RAW_REMEDY if data[8:12] == b"crx " else "is not an image but a video: pass it as videos=."
    if data[:4] == b"RIFF" and data[8:12] == b"AVI " or data[:1] == data[188:189] == b"\x47":
        return "is not an image but a video: pass it as videos=."
    if data.startswith(TIFF_PREFIXES):
        return "is a TIFF of a layout that Pillow does not read, or corrupt. Save it as RGB or gray, or as a PNG."
    if b"<svg" in data[:1024]:
        return DRAWING_REMEDY
    found = next((text for heads, text in _UNREAD.items() if data.startswith(heads)), None)
    return found or "is not an image in a format that Pillow reads, or is corrupt. Convert it to PNG or JPEG."
