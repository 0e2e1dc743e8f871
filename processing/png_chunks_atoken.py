"""The chunks of a PNG file, where Pillow does not look: codes of colors, and the checksums of the pixels."""

import struct
import zlib
from collections.abc import Iterator


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Yields the kind, content and stated checksum of the chunks of a PNG file, as far as they are whole."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", view[at : at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            return
        yield kind, view[at + 8 : end], int.from_bytes(view[end : end + 4], "big")
        at = end + 4


def color_codes(data: bytes) -> tuple[int, int, bool] | None:
    """Gives the primaries, transfer and full range of a cICP chunk in front of the pixels; None without one."""
    for kind, content, _ in chunks(data):
        if kind == b"cICP" and len(content) == 4:
            primaries, transfer, _, full_range = content
            return primaries, transfer, bool(full_range)
        if kind == b"IDAT":
            return None
    return None


def check_pixels(data: bytes) -> None:
    """Raises a ValueError if the pixels of a PNG file are not those that were written, by their checksums."""
    for kind, content, checksum in chunks(data):
        if kind in (b"IDAT", b"fdAT") and zlib.crc32(content, zlib.crc32(kind)) != checksum:
            raise ValueError("the checksum of its pixels is wrong")
