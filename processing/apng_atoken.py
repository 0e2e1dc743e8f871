"""Animated PNG files, composed as their specification says."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from .animation_layers_atoken import TRANSPARENT, Disposal, Layer, compose
from .png_chunks_atoken import chunks
from .size_limits_atoken import ANIMATION_FRAMES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# They would be unpacked once for every frame.
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_DISPOSALS = {1: Disposal.CLEAR, 2: Disposal.RESTORE}


@dataclass(frozen=True)
class _Frame:
    """One picture of the animation: where it goes, for how long, how, and its compressed pixels."""

    width: int
    height: int
    left: int
    top: int
    milliseconds: float
    disposal: int
    blending: int
    data: list[bytes] = field(default_factory=list)


def is_animated_png(data: bytes) -> bool:
    """
    Tells whether a PNG file holds more than one picture: frames, or a default picture and one frame.

    Raises:
        ValueError: the file is truncated or corrupt.
    """
    if not data.startswith(SIGNATURE):
        return False
    announced = controlled = 0
    for kind, content in _chunks(data):
        if kind == b"acTL":
            announced = int.from_bytes(content[:4], "big")
        controlled += kind == b"fcTL"
        if kind == b"IDAT":
            break
    return announced > 1 or (announced == 1 and not controlled)


def composed_png(data: bytes) -> Iterator[tuple[Image.Image, float]]:
    """
    Composes an animated PNG file.

    A default picture that is not part of the animation is left out. Channels of 16 bits keep their upper 8.

    Yields:
        What each moment shows, RGBA with what the file says about its colors in `info`, and for how many milliseconds.

    Raises:
        ValueError: the file is truncated or corrupt.
    """
    shared, frames = _parse(data)
    size = struct.unpack(">II", shared[0][1][:8])
    return compose(size, TRANSPARENT, (_layer(shared, frame, index) for index, frame in enumerate(frames)))


def _layer(shared: list[tuple[bytes, bytes]], frame: _Frame, index: int) -> Layer:
    with Image.open(io.BytesIO(_as_file(shared, frame))) as image:
        info = {name: value for name, value in image.info.items() if name != "transparency"}
        picture = _rgba(image)
    picture.info = info
    disposal = _DISPOSALS.get(frame.disposal, Disposal.KEEP)
    if index == 0 and disposal is Disposal.RESTORE:
        # Before the first frame there is nothing to go back to but the empty canvas.
        disposal = Disposal.CLEAR
    return Layer(picture, frame.left, frame.top, frame.milliseconds, disposal, blended=frame.blending == 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and content of each chunk up to the last."""
    for kind, content, checksum in chunks(data):
        if zlib.crc32(content, zlib.crc32(kind)) != checksum:
            raise ValueError(f"chunk {kind!r} has a wrong checksum")
        yield kind, bytes(content)
        if kind == b"IEND":
            return
    raise ValueError("its last chunk is missing or cut off")


def _parse(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[_Frame]]:
    """The chunks in front of the pixels, which all frames share, and the frames."""
    shared: list[tuple[bytes, bytes]] = []
    frames: list[_Frame] = []
    announced = has_pixels = 0
    for kind, content in _chunks(data):
        if kind == b"acTL":
            (announced,) = struct.unpack(">I", content[:4])
        elif kind == b"fcTL":
            frames.append(_frame(content))
            ANIMATION_FRAMES.check(len(frames), "it")
        elif kind in (b"IDAT", b"fdAT"):
            has_pixels = 1
            # Pixels in front of the first fcTL are a default picture, for programs that know no animation.
            if frames:
                frames[-1].data.append(content if kind == b"IDAT" else content[4:])
        elif not has_pixels and kind not in (b"IEND", *_TEXTS):
            shared.append((kind, content))
    if not shared or shared[0][0] != b"IHDR" or len(shared[0][1]) != 13:
        raise ValueError("its header is missing")
    if len(frames) != announced or not frames or not all(frame.data for frame in frames):
        complete = sum(bool(frame.data) for frame in frames)
        raise ValueError(f"it announces {announced} frames and holds {complete}")
    width, height = struct.unpack(">II", shared[0][1][:8])
    for index, frame in enumerate(frames):
        if frame.left + frame.width > width or frame.top + frame.height > height:
            raise ValueError(f"frame {index} lies outside of the picture")
    return shared, frames


def _frame(content: bytes) -> _Frame:
    if len(content) != 26:
        raise ValueError("chunk b'fcTL' has a wrong length")
    _, width, height, left, top, delay, unit, disposal, blending = struct.unpack(">IIIIIHHBB", content)
    return _Frame(width, height, left, top, 1000 * delay / (unit or 100), disposal, blending)


def _as_file(shared: list[tuple[bytes, bytes]], frame: _Frame) -> bytes:
    """A PNG file of one frame's own pixels."""
    header = struct.pack(">II", frame.width, frame.height) + shared[0][1][8:]
    chunks = [(b"IHDR", header), *shared[1:], *((b"IDAT", part) for part in frame.data), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _rgba(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image.convert("RGBA")
    # Gray of 16 bits, which Pillow cuts off at 255 when it converts it.
    gray = np.array(image).astype(np.uint16)
    opaque = Image.fromarray((gray >> 8).astype(np.uint8)).convert("RGBA")
    key = image.info.get("transparency")
    if isinstance(key, int):
        opaque.putalpha(Image.fromarray(np.where(gray == key, 0, 255).astype(np.uint8)))
    return opaque
