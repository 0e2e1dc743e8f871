"""TIFF pages of more than 8 bits per sample, of which Pillow reads a part or none."""

import io
import struct

import numpy as np
from PIL import TiffImagePlugin

from .size_limits_atoken import check_picture_size
from .stored_pictures_atoken import StoredPicture, scale_to_sixteen_bits
from .tiff_pages_atoken import TiffPage, read_page

# Numbers of the tags.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 317, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _ICC_PROFILE = 338, 339, 34675
# Compressions of bytes, whatever these mean: none, LZW, deflate (two numbers), PackBits, LZMA, Zstandard.
_BYTE_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
_COLORS = {0: 1, 1: 1, 2: 3, 5: 4}
_ALPHA_SAMPLES = (1, 2, 999)
# Per pixel; beside colors and transparency there are masks and other images of the same place.
_MOST_SAMPLES = 32


def read_deep_tiff(data: bytes, page_offset: int, label: str) -> StoredPicture | None:
    """Reads a page of more than 8 bits per sample with all its bits; None for a page that Pillow reads as a whole.

    Gray, RGB and CMYK with or without transparency, of 9 to 16 bits or floating point, in one plane or several, strips
    or tiles, white or black as zero. Pillow, which is libtiff, unpacks the bytes; what they mean is worked out here.

    Args:
        data: the whole file.
        page_offset: where the directory of the page begins, from `picture_page`.
        label: what to call the picture in an error message.

    Raises:
        ValueError: samples that have no agreed white, or a layout that is not read; the message begins with `label`.
        ValueError, OSError, and what Pillow raises: truncated or corrupt data.
    """
    page = read_page(data, page_offset)
    bits, sample_format = page.numbers(_BITS) or (1,), page.numbers(_SAMPLE_FORMAT) or (1,)
    if sample_format[0] == 2 or (max(bits) > 16 and sample_format[0] != 3):
        kind = "signed integers" if sample_format[0] == 2 else f"integers of {max(bits)} bits"
        raise ValueError(
            f"{label} must have unsigned integers of up to 16 bits, or floats in [0, 1], got {kind}, which have no "
            "agreed white. Scale them, and pass the pixels as a uint16 or float array."
        )
    if max(bits) <= 8:
        return None
    photometric = page.number(_PHOTOMETRIC, 2 if page.number(_SAMPLES, 1) >= 3 else 0)
    count = page.number(_SAMPLES, 1)
    floating = sample_format[0] == 3
    if count > _MOST_SAMPLES:
        raise ValueError(f"{label} must have at most {_MOST_SAMPLES} samples per pixel, got a TIFF with {count}.")
    if (
        len(set(bits)) > 1
        or len(set(sample_format)) > 1
        or photometric not in _COLORS
        or count < _COLORS[photometric]
        or page.number(_COMPRESSION, 1) not in _BYTE_COMPRESSIONS
        or (floating and bits[0] not in (16, 32, 64))
    ):
        raise ValueError(
            f"{label} must be gray, RGB or CMYK, without lossy compression, to be read with more than 8 bits, got a "
            f"TIFF of {bits} bits, color kind {photometric} and compression {page.number(_COMPRESSION, 1)}. Convert it "
            "to a PNG of 16 bits, or pass the pixels as a uint16 or float array."
        )
    colors = _COLORS[photometric]
    alpha_at, premultiplied = _alpha_sample(page, colors, count, photometric, label)
    samples = _samples(data, page, count, bits[0], floating)
    if not floating:
        samples = scale_to_sixteen_bits(samples, 2 ** bits[0] - 1)
    color = samples[..., :colors]
    if photometric == 0:
        color = (1 if floating else 65535) - color
    return StoredPicture(
        color,
        None if alpha_at is None else samples[..., alpha_at],
        premultiplied,
        page.tags.get(_ICC_PROFILE),
        page.number(_ORIENTATION, 1),
    )


def _alpha_sample(page: TiffPage, colors: int, count: int, photometric: int, label: str) -> tuple[int | None, bool]:
    """The number of the sample that is transparency, or None, and whether the colors are multiplied by it."""
    extras = page.numbers(_EXTRA_SAMPLES)
    if not extras and count == colors + 1 and photometric != 5:
        # Without the tag a fourth sample after RGB, or a second after gray, is transparency by custom.
        return colors, False
    for index, kind in enumerate(extras[: count - colors]):
        if kind in _ALPHA_SAMPLES:
            return colors + index, kind == 1
    if colors == 1 and count > 2:
        raise ValueError(
            f"{label} must be gray, RGB or CMYK, got a TIFF with {count} samples per pixel that it does not call "
            "colors. Pass the three that are meant as a uint16 or float array."
        )
    return None, False


def _samples(data: bytes, page: TiffPage, count: int, bits: int, floating: bool) -> np.ndarray:
    """All samples of a page, (H, W, count): uint16 of `bits` bits, or float32."""
    if page.number(_PLANAR, 1) == 2 and count > 1:
        return np.concatenate([_plane(data, page, plane, 1, bits, floating) for plane in range(count)], axis=2)
    return _plane(data, page, 0, count, bits, floating)


def _plane(data: bytes, page: TiffPage, plane: int, count: int, bits: int, floating: bool) -> np.ndarray:
    width, height = page.size
    check_picture_size(width, height)
    tiled = _TILE_OFFSETS in page.tags
    columns = page.number(_TILE_WIDTH) if tiled else width
    rows = page.number(_TILE_HEIGHT) if tiled else min(page.number(_ROWS_PER_STRIP, height) or height, height)
    if min(width, height, columns, rows) < 1 or max(columns, rows) > 2 * max(width, height) + 4096:
        raise ValueError(f"its sizes are impossible: {width}x{height} in parts of {columns}x{rows}")
    across, down = -(-width // columns), -(-height // rows)
    row_bytes = -(-columns * count * bits // 8)
    parts = _parts(data, page, tiled, plane * across * down, across * down, rows * row_bytes)
    lines = down * rows if tiled else height
    packed = _unpack(parts, across * row_bytes, lines, rows, row_bytes if tiled else 0, page)
    packed = packed.reshape(lines * across, row_bytes)
    order = "<" if data[:2] == b"II" else ">"
    # Uncompressed and PackBits data have no predictor, whatever the tag says.
    predictor = page.number(_PREDICTOR, 1) if page.number(_COMPRESSION, 1) not in (1, 32773) else 1
    values = _words(packed, columns * count, count, bits, floating, predictor, order)
    values = values.reshape(lines, across * columns, count)
    return values[:height, :width]


def _parts(data: bytes, page: TiffPage, tiled: bool, first: int, number: int, unpacked_bytes: int) -> list[bytes]:
    """The strips or tiles of one plane as they are in the file."""
    offsets = page.numbers(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    counts = page.numbers(_TILE_COUNTS if tiled else _STRIP_COUNTS)
    if len(offsets) < first + number:
        raise ValueError(f"it has {len(offsets)} strips or tiles, and {first + number} are needed")
    if len(counts) < len(offsets) or not all(counts):
        # Old writers leave the lengths out.
        whole = page.number(_COMPRESSION, 1) == 1
        counts = [unpacked_bytes if whole else len(data) - offset for offset in offsets]
    spans = list(zip(offsets, counts, strict=False))[first : first + number]
    return [data[offset : offset + count] for offset, count in spans]


def _unpack(parts: list[bytes], width: int, height: int, rows: int, tile_width: int, page: TiffPage) -> np.ndarray:
    """Decompress parts through Pillow, which is shown a gray picture (height, width) of their bytes."""
    lengths = [len(part) for part in parts]
    entries = {
        _WIDTH: [width],
        _HEIGHT: [height],
        _BITS: [8],
        _COMPRESSION: [page.number(_COMPRESSION, 1)],
        _PHOTOMETRIC: [1],
        _FILL_ORDER: [page.number(_FILL_ORDER, 1)],
        _SAMPLES: [1],
    }
    if tile_width:
        entries |= {_TILE_WIDTH: [tile_width], _TILE_HEIGHT: [rows], _TILE_OFFSETS: lengths, _TILE_COUNTS: lengths}
    else:
        entries |= {_STRIP_OFFSETS: lengths, _ROWS_PER_STRIP: [rows], _STRIP_COUNTS: lengths}
    tables_at = 8 + 2 + 12 * len(entries) + 4
    data_at = tables_at + (8 * len(parts) if len(parts) > 1 else 0)
    offsets = (np.cumsum([0, *lengths[:-1]]) + data_at).tolist()
    directory, tables = b"", b""
    for tag, values in sorted(entries.items()):
        values = offsets if tag in (_STRIP_OFFSETS, _TILE_OFFSETS) else values
        value = values[0] if len(values) == 1 else tables_at + len(tables)
        tables += struct.pack(f"<{len(values)}I", *values) if len(values) > 1 else b""
        directory += struct.pack("<HHII", tag, 4, len(values), value)
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    file = io.BytesIO(b"".join([header, directory, bytes(4), tables, *parts]))
    # The class itself, as Image.open() would count the bytes as pixels and find them too many.
    return np.asarray(TiffImagePlugin.TiffImageFile(file))


def _words(
    packed: np.ndarray, number: int, count: int, bits: int, floating: bool, predictor: int, order: str
) -> np.ndarray:
    """Turn rows of bytes (R, row_bytes) into rows of samples (R, number), undoing the predictor of the compression."""
    if bits % 8:
        if predictor != 1:
            raise ValueError(f"its {bits} bits cannot have predictor {predictor}")
        return _bit_fields(packed, number, bits)
    size = bits // 8
    if predictor == 3:
        # Differences of bytes, the first bytes of all samples in front, then the second ones.
        differences = packed.reshape(len(packed), -1, count)
        planes = differences.cumsum(axis=1, dtype=np.uint8).reshape(len(packed), size, number)
        words = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">u{size}")[..., 0]
    else:
        words = np.ascontiguousarray(packed).view(f"{order}u{size}")
    words = words.astype(f"=u{size}")
    if predictor == 2:
        words = words.reshape(len(words), -1, count).cumsum(axis=1, dtype=words.dtype).reshape(len(words), number)
    return words.view(f"=f{size}").astype(np.float32) if floating else words


def _bit_fields(packed: np.ndarray, number: int, bits: int) -> np.ndarray:
    """Rows of bytes (R, row_bytes) as rows of unsigned integers (R, number) of `bits` bits each, the highest first."""
    values = np.empty((len(packed), number), np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    for start in range(0, len(packed), 64):
        rows = packed[start : start + 64]
        values[start : start + 64] = (
            np.unpackbits(rows, axis=1)[:, : number * bits].reshape(len(rows), number, bits) @ weights
        )
    return values
