"""The layers of GIF files, composed as players do."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from .animation_layers_atoken import TRANSPARENT, Disposal, Layer, compose
from .size_limits_atoken import ANIMATION_FRAMES

SIGNATURES = (b"GIF87a", b"GIF89a")
_DISPOSALS = {2: Disposal.CLEAR, 3: Disposal.RESTORE}


@dataclass(frozen=True)
class _Frame:
    """One picture: where it lies, its own file without that place, and what the block in front says about it."""

    left: int
    top: int
    width: int
    height: int
    file: bytes
    milliseconds: float
    disposal: int
    is_transparent: bool


def is_animated_gif(data: bytes) -> bool:
    """
    Tells whether a GIF file holds more than one picture.

    Raises:
        ValueError: the file is truncated or corrupt.
    """
    return data.startswith(SIGNATURES) and len(_parse(data)[2]) > 1


def composed_gif(data: bytes) -> Iterator[tuple[Image.Image, float]]:
    """
    Composes an animated GIF file.

    Parts that are to be cleared become transparent after a frame with a transparent color, and get the file's
    background color after one without.

    Yields:
        What each moment shows, RGBA, and for how many milliseconds.

    Raises:
        ValueError: the file is truncated or corrupt.
    """
    (width, height), background, frames = _parse(data)
    # A first frame that is larger than the canvas enlarges it, as in browsers.
    size = max(width, frames[0].left + frames[0].width), max(height, frames[0].top + frames[0].height)
    return compose(
        size,
        TRANSPARENT if frames[0].is_transparent else background,
        (_layer(frame, background) for frame in frames),
    )


def _layer(frame: _Frame, background: tuple[int, int, int, int]) -> Layer:
    with Image.open(io.BytesIO(frame.file)) as image:
        picture = image.convert("RGBA")
    picture.info = {}
    return Layer(
        picture,
        frame.left,
        frame.top,
        frame.milliseconds,
        _DISPOSALS.get(frame.disposal, Disposal.KEEP),
        blended=True,
        cleared_to=TRANSPARENT if frame.is_transparent else background,
    )


def _parse(data: bytes) -> tuple[tuple[int, int], tuple[int, int, int, int], list[_Frame]]:
    """The size of the canvas, the background color and the frames; a missing end marker is no damage."""
    width, height, flags, background = struct.unpack("<HHBB", _part(data, 6, 6))
    at = 13
    palette = _part(data, at, 3 << ((flags & 7) + 1)) if flags & 0x80 else b""
    at += len(palette)
    color = palette[3 * background : 3 * background + 3]
    frames: list[_Frame] = []
    control = b"\0\0\0\0"
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x21:
            end = _end_of_blocks(data, at + 2)
            if _part(data, at + 1, 2) == b"\xf9\x04":
                control = _part(data, at + 3, 4)
            at = end
        elif data[at] == 0x2C:
            left, top, columns, rows, local = struct.unpack("<HHHHB", _part(data, at + 1, 9))
            colors = at + 10
            pixels = colors + (3 << ((local & 7) + 1) if local & 0x80 else 0)
            # One byte in front of the blocks says how they are compressed.
            end = _end_of_blocks(data, pixels + 1)
            delay = int.from_bytes(control[1:3], "little")
            file = b"".join(
                (
                    SIGNATURES[1],
                    struct.pack("<HHBBB", columns, rows, flags, 0, 0),
                    palette,
                    b"\x21\xf9\x04" + bytes([control[0] & 1, 0, 0, control[3]]) + b"\0",
                    b"\x2c" + struct.pack("<HHHHB", 0, 0, columns, rows, local),
                    data[colors:end],
                    b"\x3b",
                )
            )
            frames.append(_Frame(left, top, columns, rows, file, 10 * delay, control[0] >> 2 & 7, bool(control[0] & 1)))
            ANIMATION_FRAMES.check(len(frames), "it")
            control = b"\0\0\0\0"
            at = end
        else:
            raise ValueError(f"there is no block of type {data[at]} in GIF files")
    if not frames:
        raise ValueError("it holds no picture")
    return (width, height), (*color, 255) if len(color) == 3 else TRANSPARENT, frames


def _end_of_blocks(data: bytes, at: int) -> int:
    """Where a run of blocks ends, each of them one byte of length and as many bytes of content, the last empty."""
    while length := _part(data, at, 1)[0]:
        at += 1 + len(_part(data, at + 1, length))
    return at + 1


def _part(data: bytes, at: int, length: int) -> bytes:
    part = data[at : at + length]
    if len(part) < length:
        raise ValueError(f"{at + length - len(data)} bytes are missing at its end")
    return part
