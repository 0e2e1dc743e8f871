"""The pages of a TIFF file, and which of them is the picture."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffImagePlugin

from .tag_directories_atoken import check_directories

TIFF_PREFIXES = tuple(TiffImagePlugin.PREFIXES)
RAW_REMEDY = (
    "is the raw file of a camera, whose sensor values are no picture yet. Develop it, for example with rawpy (pip "
    "install rawpy; rawpy.imread(path).postprocess() gives an array), and pass the result."
)
# Numbers of the tags.
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC = 254, 255, 256, 257, 262
_SUB_DIRECTORIES, _DNG_VERSION = 330, 50706
_SENSOR_PHOTOMETRICS = (32803, 34892)
_MAX_PAGES = 10_000


@dataclass(frozen=True)
class TiffPage:
    """Holds one directory of a file: its tags, and where it begins."""

    tags: TiffImagePlugin.ImageFileDirectory_v2
    offset: int

    def number(self, tag: int, default: int = 0) -> int:
        """Gives the value of a tag, the first of several."""
        value = self.tags.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Gives all values of a tag, none if it is not there."""
        value = self.tags.get(tag, ())
        return tuple(int(each) for each in value) if isinstance(value, tuple) else (int(value),)

    @property
    def size(self) -> tuple[int, int]:
        """Gives the width and the height."""
        return self.number(_WIDTH), self.number(_HEIGHT)

    @property
    def is_auxiliary(self) -> bool:
        """Tells whether the file calls the page a smaller version or a mask of another one."""
        return bool(self.number(_SUBFILE) & 5) or self.number(_OLD_SUBFILE) == 2


def picture_page(data: bytes, label: str) -> int:
    """Finds the one page that is the picture: not its thumbnail, not a smaller copy or a mask of it.

    Args:
        data: the whole file.
        label: what to call the picture in an error message.

    Returns:
        Where the directory of the page begins.

    Raises:
        ValueError: several pages that are pictures of their own, a camera's raw file, or no page.
    """
    if data.startswith(b"MM\x00\x2b"):
        raise ValueError(f"{label} is a BigTIFF of big-endian numbers, which Pillow does not read. Save it as TIFF.")
    try:
        check_directories(data)
    except ValueError as error:
        raise ValueError(f"{label} is damaged: {error}.") from error
    pages = list(_chain(data))
    inner = [page for outer in pages for page in _inner_pages(data, outer)]
    sensor = any(
        page.number(_PHOTOMETRIC) in _SENSOR_PHOTOMETRICS or _DNG_VERSION in page.tags for page in pages + inner
    )
    if sensor or data[8:10] == b"CR":
        raise ValueError(f"{label} {RAW_REMEDY}")
    pages = [page for page in pages if min(page.size) > 0] or pages
    if not pages:
        raise ValueError(f"{label} is truncated or corrupt: it has no page.")
    whole = [page for page in pages if not page.is_auxiliary]
    if not whole:
        # A first page may be a thumbnail whose full picture is in a directory below it.
        whole = [page for page in inner if not page.is_auxiliary] or pages
        return max(whole, key=lambda page: page.size[0] * page.size[1]).offset
    largest = max(whole, key=lambda page: page.size[0] * page.size[1])
    others = [page for page in whole if page is not largest]
    if not all(_is_smaller_copy(data, page, largest) for page in others):
        raise ValueError(
            f"{label} must be one picture, got a TIFF with {len(whole)} pages. Pass the page that is meant as an image "
            "of its own: seek() to it in Pillow's image and pass a copy(), or save it to another file."
        )
    return largest.offset


def with_first_page(data: bytes, page_offset: int) -> bytes:
    """Gives the file with another page as its first, which is the one that Pillow shows."""
    order = "<" if data[:2] == b"II" else ">"
    at, code = (8, "Q") if 43 in data[2:4] else (4, "I")
    pointer = struct.pack(order + code, page_offset)
    return data if data[at : at + len(pointer)] == pointer else data[:at] + pointer + data[at + len(pointer) :]


def read_page(data: bytes, offset: int) -> TiffPage:
    """Reads the directory that begins at `offset`."""
    header = data[:16] if 43 in data[2:4] else data[:8]
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    file = io.BytesIO(data)
    file.seek(offset)
    tags.load(file)
    return TiffPage(tags, offset)


def _chain(data: bytes) -> Iterator[TiffPage]:
    header = data[:16] if 43 in data[2:4] else data[:8]
    offset, seen = TiffImagePlugin.ImageFileDirectory_v2(header).next, set()
    while offset and offset not in seen and offset < len(data) and len(seen) < _MAX_PAGES:
        seen.add(offset)
        page = read_page(data, offset)
        yield page
        offset = page.tags.next


def _inner_pages(data: bytes, page: TiffPage) -> list[TiffPage]:
    offsets = [offset for offset in page.numbers(_SUB_DIRECTORIES) if 0 < offset < len(data)]
    return [read_page(data, offset) for offset in offsets[:16]]


def _is_smaller_copy(data: bytes, page: TiffPage, largest: TiffPage) -> bool:
    """Whether a page has the shape of the largest, fewer pixels, and shows the same in the small."""
    (width, height), (full_width, full_height) = page.size, largest.size
    if width >= full_width or abs(width * full_height - height * full_width) > max(full_width, full_height):
        return False
    small, large = (_thumbnail(data, each) for each in (page, largest))
    if small is None or large is None:
        return False
    return float(np.abs(small - large).mean()) < max(float(large.max()), 1e-9) / 16


def _thumbnail(data: bytes, page: TiffPage) -> np.ndarray | None:
    """The mean brightness of 8 x 8 parts of a page, None if Pillow does not read it."""
    try:
        with Image.open(io.BytesIO(with_first_page(data, page.offset))) as image:
            values = np.asarray(image.convert("RGB") if image.mode in ("1", "P") else image, dtype=np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    gray = Image.fromarray(values.mean(axis=2) if values.ndim == 3 else values)
    return np.asarray(gray.resize((8, 8), Image.Resampling.BOX))
