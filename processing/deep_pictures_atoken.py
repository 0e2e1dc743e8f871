"""PNG, PGM, PPM and JPEG 2000 files of more than 8 bits per channel, of which Pillow would keep 8 of color pictures."""

import io
import re
import struct
import sys
from typing import Any

import numpy as np
from PIL import Image

from .media_warnings_atoken import warn_about_media
from .size_limits_atoken import check_picture_size
from .stored_pictures_atoken import StoredPicture, scale_to_sixteen_bits

JP2_PREFIXES = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_CODESTREAM = b"\xff\x4f\xff\x51"


def read_deep_picture(image: Image.Image, data: bytes, label: str) -> StoredPicture | None:
    """Reads a picture with all its bits, if its format is one that Pillow would cut to 8.

    Args:
        image: the opened picture, of which no pixel is loaded.
        data: the whole file.
        label: what to call the picture in an error message.

    Returns:
        The picture, without its orientation and colors, or None if Pillow reads all bits of it.

    Raises:
        ValueError: a layout that is not read; the message begins with `label`.
        ImportError: PyAV is needed and not installed.
        ValueError, OSError, and what Pillow raises: truncated or corrupt data.
    """
    if image.format == "PNG":
        return _read_png(image, data)
    if image.format == "PPM":
        return _read_pnm(image, data)
    if image.format == "JPEG2000":
        return _read_jpeg2000(image, data, label)
    if _loses_bits(image.format, data):
        warn_about_media(f"{label} has more than 8 bits per channel, of which Pillow keeps the upper 8.")
    return None


def _loses_bits(picture_format: str | None, data: bytes) -> bool:
    """Whether an AVIF or SGI file has more than 8 bits per channel."""
    if picture_format == "AVIF":
        # The box of the decoder's configuration; the second bit of its third byte is for 10 and 12 bits.
        at = data.find(b"av1C", 0, 1 << 16)
        return at >= 0 and len(data) > at + 6 and bool(data[at + 6] & 0x40)
    return picture_format == "SGI" and data[3:4] == b"\x02"


def jpeg2000_profile(data: bytes) -> bytes | None:
    """Gives the ICC profile of a JP2 file, which Pillow passes over."""
    for kind, start, end in _jp2_boxes(data, 0, len(data)):
        if kind == b"jp2h":
            for inner, inner_start, inner_end in _jp2_boxes(data, start, end):
                # Method 2 is an ICC profile of restricted kind, method 3 one of any kind.
                if inner == b"colr" and data[inner_start] in (2, 3):
                    return data[inner_start + 3 : inner_end]
    return None


def _read_png(image: Image.Image, data: bytes) -> StoredPicture | None:
    """Color of 16 bits in two passes: the upper bytes as Pillow does, the lower ones with swapped byte order."""
    raw_mode = _raw_mode(image.tile[0]) if image.tile else ""
    if not re.fullmatch(r"(LA|RGBA?);16[BLN]", raw_mode):
        return None
    if raw_mode.startswith("LA"):
        # Gray and alpha of two bytes each have the layout of four channels of one byte.
        channels = _load_raw(data, "RGBA").astype(np.uint16)
        samples = channels[..., 0::2] * 256 + channels[..., 1::2]
        return StoredPicture(samples[..., :1], samples[..., 1])
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    upper, lower = _load_raw(data, raw_mode), _load_raw(data, raw_mode[:-1] + swapped[raw_mode[-1]])
    samples = upper.astype(np.uint16) * 256 + lower
    alpha = samples[..., 3] if samples.shape[2] == 4 else None
    key = image.info.get("transparency")
    if alpha is None and isinstance(key, tuple):
        alpha = np.where((samples == np.array(key)).all(axis=2), np.uint16(0), np.uint16(65535))
    return StoredPicture(samples[..., :3], alpha)


def _raw_mode(tile: Any) -> str:
    """The layout of the pixels in the file: the last entry of a Pillow tile, or the first of its arguments."""
    return str(tile[3][0] if isinstance(tile[3], tuple) else tile[3])


def _load_raw(data: bytes, raw_mode: str) -> np.ndarray:
    """Load a picture as if its file had the layout `raw_mode`, (H, W, C) uint8."""
    image = Image.open(io.BytesIO(data))
    image.tile = [
        tile._replace(args=(raw_mode, *tile[3][1:]) if isinstance(tile[3], tuple) else raw_mode) for tile in image.tile
    ]
    return np.array(image)


def _read_pnm(image: Image.Image, data: bytes) -> StoredPicture | None:
    """PGM and PPM whose largest value needs two bytes; any such value is white."""
    decoder, _, offset, arguments = image.tile[0][:4]
    # Pillow names the largest value, except for the two that it takes as they are.
    raw_mode, white = (
        (arguments, 65535 if arguments == "I;16B" else 255) if isinstance(arguments, str) else arguments[:2]
    )
    if not isinstance(white, int) or white <= 255 or raw_mode not in ("L", "RGB", "I;16B"):
        return None
    count = 3 if raw_mode == "RGB" else 1
    number = image.height * image.width * count
    if decoder == "ppm_plain":
        text = re.sub(rb"#[^\r\n]*", b" ", data[offset:]).split(maxsplit=number)[:number]
        values = np.array(text, dtype="S5").astype(np.int64)
    else:
        whole = min(2 * number, len(data) - offset) // 2
        values = np.frombuffer(data, ">u2", whole, offset).astype(np.int64)
    if len(values) < number:
        raise ValueError(f"it is truncated, {number} values are announced and it has {len(values)}")
    if values.max() > white:
        raise ValueError(f"its largest value is {values.max()}, and it announces {white}")
    return StoredPicture(scale_to_sixteen_bits(values, white).reshape(image.height, image.width, count))


def _read_jpeg2000(image: Image.Image, data: bytes, label: str) -> StoredPicture | None:
    """Pillow reads one channel of up to 16 bits, shifted to 16, and PyAV several."""
    components = _jpeg2000_components(data)
    bits = max(component & 0x7F for component in components) + 1
    if bits <= 8:
        return None
    if any(component & 0x80 for component in components) or bits > 16 or len(set(components)) > 1:
        raise ValueError(
            f"{label} must have unsigned integers of up to 16 bits, the same for each channel, got a JPEG 2000 of "
            f"{', '.join(str((each & 0x7F) + 1) for each in components)} bits. Convert it to a PNG of 16 bits."
        )
    if len(components) == 1 and image.mode.startswith("I;16"):
        samples = np.asarray(image)[..., None]
    else:
        samples = _decode_jpeg2000(image, data, len(components), label)
    samples = scale_to_sixteen_bits(samples >> (16 - bits), 2**bits - 1)
    has_alpha = len(components) in (2, 4)
    return StoredPicture(samples[..., :-1] if has_alpha else samples, samples[..., -1] if has_alpha else None)


def _decode_jpeg2000(image: Image.Image, data: bytes, count: int, label: str) -> np.ndarray:
    """(H, W, count) uint16, the values shifted up to 16 bits."""
    try:
        import av
    except ImportError as error:
        raise ImportError(
            f"{label}: JPEG 2000 pictures of more than 8 bits per channel are read with PyAV: "
            'pip install "atoken[video]".'
        ) from error
    start, stop = _codestream(data)
    # The boxes around the codestream, which Pillow goes by, may state another size.
    right, bottom, left, top = struct.unpack(">4I", data[start + 8 : start + 24])
    check_picture_size(right - left, bottom - top)
    if data[stop - 2 : stop] != b"\xff\xd9":
        raise ValueError("its codestream has no end")
    formats = {1: "gray16le", 2: "ya16le", 3: "rgb48le", 4: "rgba64le"}
    try:
        decoder = av.CodecContext.create("jpeg2000", "r")
        frames = decoder.decode(av.Packet(data[start:stop])) + decoder.decode(None)
    except av.FFmpegError as error:
        raise ValueError(f"it is truncated or corrupt, {error.strerror or error}") from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise ValueError("it is truncated or corrupt")
    if frames[0].format.name != formats.get(count) or image.mode == "CMYK":
        raise ValueError(
            f"{label} must be gray or RGB, got a JPEG 2000 of {count} channels as {frames[0].format.name}. Convert it "
            "to a PNG of 16 bits."
        )
    samples = frames[0].to_ndarray()
    return samples.reshape(*samples.shape[:2], count)


def _jpeg2000_components(data: bytes) -> list[int]:
    """What the codestream says about each channel: its bits less one, and 128 for signed numbers."""
    start, _ = _codestream(data)
    head = data[start : start + 42]
    if not head.startswith(_CODESTREAM) or len(head) < 42:
        raise ValueError("it has no JPEG 2000 codestream")
    count = struct.unpack(">H", head[40:42])[0]
    return list(data[start + 42 : start + 42 + 3 * count : 3]) or [7]


def _codestream(data: bytes) -> tuple[int, int]:
    """Where the codestream begins and ends."""
    spans = ((start, stop) for kind, start, stop in _jp2_boxes(data, 0, len(data)) if kind == b"jp2c")
    return next(spans, (0, len(data)))


def _jp2_boxes(data: bytes, at: int, end: int) -> list[tuple[bytes, int, int]]:
    """The boxes of a JP2 file between two positions: kind, and where the content begins and ends."""
    boxes = []
    while at + 8 <= end and not data.startswith(_CODESTREAM):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        head = 8
        if size == 1 and at + 16 <= end:
            size, head = struct.unpack(">Q", data[at + 8 : at + 16])[0], 16
        stop = min(at + size, end) if size else end
        if stop < at + head:
            break
        boxes.append((kind, at + head, stop))
        at = stop
    return boxes
