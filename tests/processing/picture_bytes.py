"""Picture files byte by byte, for what Pillow cannot write."""

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, *chunks: tuple[bytes, bytes], bits: int = 0) -> bytes:
    """A PNG of (H, W, 1 to 4) uint8 or uint16, with chunks before the pixels; `bits` packs gray of 1, 2 or 4."""
    height, width, channels = pixels.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    depth = bits or 8 * pixels.dtype.itemsize
    if bits:
        fields = np.unpackbits(pixels[..., 0][..., None], axis=2)[..., -bits:].reshape(height, -1)
        rows = np.packbits(fields, axis=1)
    else:
        rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(png_chunk(*part) for part in parts)


def tiff(
    strip: bytes,
    size: tuple[int, int],
    bits: int,
    channels: int = 1,
    photometric: int = 1,
    order: str = "<",
    compression: int = 1,
    **tags: int,
) -> bytes:
    """A TIFF of one strip; more tags by name `tag_<number>`, of type LONG."""
    height, width = size
    entries = {256: [width], 257: [height], 258: [bits] * channels, 259: [compression], 262: [photometric]}
    entries |= {273: [8], 277: [channels], 278: [height], 279: [len(strip)]}
    entries |= {int(name[4:]): [value] for name, value in tags.items()}
    body, at = b"", 8 + len(strip)
    tables = b""
    tables_at = at + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        value = values[0]
        if len(values) > 1:
            value, tables = tables_at + len(tables), tables + struct.pack(f"{order}{len(values)}I", *values)
        body += struct.pack(f"{order}HHII", tag, 4, len(values), value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    return head + strip + struct.pack(f"{order}H", len(entries)) + body + bytes(4) + tables


def packed_bits(samples: np.ndarray, bits: int) -> bytes:
    """Rows of unsigned integers (H, N) as bit fields, the highest bit first, each row padded to a whole byte."""
    fields = (samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(fields.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def icc_profile(kind: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of a display, version 2, or of a printer if it is of CMYK."""
    table, body = struct.pack(">I", len(tags)), b""
    at = 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    device = b"prtr" if kind == b"CMYK" else b"mntr"
    header = struct.pack(">I4sI4s4s4s", 132 + 12 * len(tags) + len(body), b"lcms", 0x02400000, device, kind, connection)
    header += struct.pack(">6H4sI", 2024, 1, 1, 0, 0, 0, b"acsp", 0).ljust(44, b"\0")
    header += struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)))
    return header.ljust(128, b"\0") + table + body


def icc_matrix_profile(colorants: np.ndarray, curves: list[bytes]) -> bytes:
    """A profile of RGB whose colorants are the columns (3, 3), in XYZ under D50."""
    tags = {b"wtpt": icc_xyz((0.9642, 1.0, 0.8249))}
    for name, column, curve in zip((b"r", b"g", b"b"), colorants.T, curves, strict=True):
        tags |= {name + b"XYZ": icc_xyz(column), name + b"TRC": curve}
    return icc_profile(b"RGB ", b"XYZ ", tags)


def icc_xyz(values: tuple[float, float, float] | np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def icc_gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def icc_samples(values: np.ndarray) -> bytes:
    """A curve of numbers in [0, 1]."""
    numbers = np.rint(np.asarray(values) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(numbers)) + numbers.tobytes()


def icc_parametric(kind: int, *values: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(f">HH{len(values)}i", kind, 0, *(round(value * 65536) for value in values))


def icc_table(channels: int, lab: np.ndarray) -> bytes:
    """A table of 8 bits (lut8) with two points on each axis: Lab (2 ** channels, 3), the last channel quickest."""
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    scaled = np.rint(lab * [2.55, 1, 1] + [0, 128, 128]).clip(0, 255).astype(np.uint8)
    return b"mft1\0\0\0\0" + bytes([channels, 3, 2, 0]) + matrix + ramp * channels + scaled.tobytes() + ramp * 3
