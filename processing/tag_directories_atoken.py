"""The directories of tags of TIFF files and EXIF blocks: what reading all of their tags would take."""

from collections.abc import Iterator

import numpy as np

# Tags may share what they hold, a color profile of all pages for example, so that more is read than the file has.
_SHARED_BYTES = 2**26
_MOST_DIRECTORIES = 20_000
# Bytes of a value, by the number of its type.
_SIZES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8])
# Tags whose values are places of other directories: of smaller pictures, EXIF, GPS and interoperability.
_POINTERS = (330, 34665, 34853, 40965)


def check_directories(data: bytes) -> None:
    """
    Checks a TIFF file or EXIF block before its tags are read: all of them are, each with a copy of what it points to.

    Args:
        data: begins with the byte order.

    Raises:
        ValueError: the tags hold much more than `data`, or there are too many directories.
    """
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    count_type, width = (order + "u8", 8) if is_big else (order + "u2", 2)
    number = order + ("u8" if is_big else "u4")
    entry = np.dtype([("tag", order + "u2"), ("kind", order + "u2"), ("count", number), ("value", number)])
    inline = entry["value"].itemsize
    rest, seen = [_integer(data, 8 if is_big else 4, number)], set()
    total = 0.0
    while rest:
        place = rest.pop()
        if not 0 < place < len(data) or place in seen:
            continue
        seen.add(place)
        if len(seen) > _MOST_DIRECTORIES:
            raise ValueError(f"it must have at most {_MOST_DIRECTORIES:,} directories of tags, it has more")
        first = place + width
        rows = min(_integer(data, place, count_type), max(len(data) - first, 0) // entry.itemsize)
        entries = np.frombuffer(data, entry, rows, first)
        kinds = np.minimum(entries["kind"], len(_SIZES) - 1)
        held = _SIZES[kinds] * entries["count"].astype(np.float64)
        there = len(data) - entries["value"].astype(np.float64)
        total += rows * entry.itemsize + float(np.minimum(held, there.clip(min=0))[held > inline].sum())
        if total > len(data) + _SHARED_BYTES:
            raise ValueError(f"its tags hold more than {total:,.0f} bytes, out of a file of {len(data):,}")
        rest.append(_integer(data, first + rows * entry.itemsize, number))
        is_pointer = np.isin(entries["tag"], _POINTERS)
        for size, value in zip(held[is_pointer].tolist(), entries["value"][is_pointer].tolist(), strict=True):
            rest += [value] if size <= inline else _integers(data, value, int(size), number)


def jpeg_directories(data: bytes) -> Iterator[bytes]:
    """Yields the EXIF block of a JPEG file, which may be cut into several segments, and the tables of its pictures."""
    exif, at = [], 2
    while data[at : at + 1] == b"\xff" and len(data) >= at + 4:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 2 + length]
        if kind == 0xE1 and content.startswith(b"Exif\0"):
            exif.append(content[6:])
        elif kind == 0xE2 and content.startswith(b"MPF\0"):
            yield content[4:]
        elif kind == 0xDA:
            break
        at += 2 + max(length, 2)
    yield b"".join(exif)


def _integer(data: bytes, place: int, kind: str) -> int:
    """The integer at a place, 0 behind the end."""
    return int(np.frombuffer(data, kind, 1, place)[0]) if place + np.dtype(kind).itemsize <= len(data) else 0


def _integers(data: bytes, place: int, size: int, kind: str) -> list[int]:
    size = min(size, max(len(data) - place, 0), _MOST_DIRECTORIES * np.dtype(kind).itemsize)
    return np.frombuffer(data, kind, size // np.dtype(kind).itemsize, place).tolist() if size else []
