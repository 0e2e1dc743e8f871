"""Small files that claim to be large pictures, or unpack to much."""

import io
import struct
import zlib

from PIL import Image

# A megabyte of zeros as its thousandth part.
MEGABYTE = bytes(2**20)


def png(width: int = 8, height: int = 8, extra: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """A gray PNG file; `extra` chunks stand in front of its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(9 * 8))
    chunks = [(b"IHDR", header), *(extra or []), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def encoded(form: str, size: tuple[int, int] = (16, 16), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, form, **options)
    return file.getvalue()


def directory(entries: list[tuple[int, int, int, int]], after: bytes = b"") -> bytes:
    """A TIFF file of one directory of (tag, type, count, value); `after` begins behind it."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + after


def tiff(width: int, height: int, bits: int = 8, samples: int = 1) -> bytes:
    """A TIFF that claims a size and has no pixels."""
    entries = [
        *(
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 1, bits),
            (259, 3, 1, 8),
            (262, 3, 1, 2 if samples > 1 else 1),
        ),
        *((273, 4, 1, 200), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, 20)),
    ]
    return directory(entries, bytes(200))


def shared_tags(count: int) -> bytes:
    """A directory of tags that all point to the same bytes: reading them takes `count` times the file."""
    size = 12 * count
    return directory([(1000 + tag, 7, size, 8) for tag in range(count)])


def jpeg_with_exif(exif: bytes) -> bytes:
    """A JPEG whose EXIF is cut into segments, as no segment has more than 64 KB."""
    parts = [b"Exif\0\0" + exif[at : at + 60_000] for at in range(0, len(exif), 60_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    picture = encoded("JPEG")
    # The first segment of Pillow's own files states a resolution, without which EXIF is looked at on opening.
    first = 4 + int.from_bytes(picture[4:6], "big")
    return picture[:2] + segments + picture[first:]


def patched(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at + len(content) :]


def webp() -> bytes:
    """A lossless WebP that claims 16384 pixels each way."""
    data = encoded("WEBP", lossless=True)
    return patched(data, data.index(b"VP8L") + 9, struct.pack("<I", 0x0FFFFFFF))


def avif() -> bytes:
    """An AVIF whose box of sizes claims 60000 pixels each way."""
    data = encoded("AVIF")
    return patched(data, data.index(b"ispe") + 8, struct.pack(">II", 60_000, 60_000))


def bmp() -> bytes:
    return patched(encoded("BMP"), 18, struct.pack("<ii", 60_000, 60_000))


def gif() -> bytes:
    return patched(encoded("GIF"), 6, struct.pack("<HH", 65_535, 65_535))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch ran) (w) file\n%%EOF\n"
