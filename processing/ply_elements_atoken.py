"""PLY files as columns of numbers and lists: binary of either byte order, or text."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from .number_texts_atoken import parse_numbers

# Types without byte order, which the file says.
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
    "int64": "i8",
    "uint64": "u8",
    "float16": "f2",
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "<"}


@dataclass
class PlyElement:
    """
    Holds the rows of one kind.

    Attributes:
        name, count: such as vertex, and how many rows.
        numbers: (rows,) for each property that is a number.
        lists: for each property that is a list the lengths (rows,), and the values of all rows one after another.
    """

    name: str
    count: int
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    # (name, type, type of the length if it is a list) of each property, in the order of the file.
    _properties: list[tuple[str, str, str | None]] = field(default_factory=list)


def read_ply(data: bytes, wanted: Collection[str]) -> tuple[dict[str, PlyElement], list[str]]:
    """Reads elements of a PLY file.

    Args:
        data: the file.
        wanted: names of elements; what stands behind the last of them is not looked at.

    Returns:
        The elements by name, and the comments.

    Raises:
        ValueError: the file is no PLY file, or cut off.
    """
    head, end, _ = data.partition(b"end_header")
    if not data.startswith(b"ply") or not end:
        raise ValueError("it has no PLY header")
    # A header ends its lines as the first one is ended; a number may follow that looks like another newline.
    newline = next((each for each in (b"\r\n", b"\n", b"\r") if data[3:].lstrip(b" ").startswith(each)), b"\n")
    begin = data.find(newline, len(head))
    body = data[begin + len(newline) :] if begin >= 0 else b""
    lines = head.decode("utf-8", "replace").splitlines()
    form = next((line.split()[1] for line in lines if line.startswith("format ")), None)
    if form not in _ORDERS:
        raise ValueError(f"its format must be {', '.join(_ORDERS)}, got {form}")
    elements, comments = _header(lines)
    tape = _Words(body) if form == "ascii" else _Bytes(body, _ORDERS[form])
    last = max((index for index, each in enumerate(elements) if each.name in wanted), default=-1)
    place = 0
    for element in elements[: last + 1]:
        place = _read_rows(tape, element, place)
    return {each.name: each for each in elements[: last + 1]}, comments


def _header(lines: list[str]) -> tuple[list[PlyElement], list[str]]:
    elements: list[PlyElement] = []
    comments = []
    for line in lines:
        words = line.split()
        if words[:1] == ["comment"]:
            comments.append(line.strip()[len("comment") :].strip())
        elif words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdigit():
                raise ValueError(f"its header must say `element NAME COUNT`, got {line.strip()!r}")
            elements.append(PlyElement(words[1], int(words[2])))
        elif words[:1] == ["property"]:
            is_list = words[1:2] == ["list"]
            kinds = words[2:4] if is_list else words[1:2]
            if len(words) != (5 if is_list else 3) or not elements or any(kind not in _TYPES for kind in kinds):
                raise ValueError(f"its header has a property that is not known: {line.strip()!r}")
            length = _TYPES[kinds[0]] if is_list else None
            elements[-1]._properties.append((words[-1], _TYPES[kinds[-1]], length))
    return elements, comments


class _Bytes:
    """The rows of a binary file; places are in bytes."""

    def __init__(self, body: bytes, order: str):
        self.body, self.size, self._order = body, len(body), order
        self._array = np.frombuffer(body, dtype=np.uint8)

    def width(self, kind: str) -> int:
        return int(kind[1])

    def number(self, place: int, kind: str) -> int:
        end = place + int(kind[1])
        if end > self.size:
            raise ValueError("it ends within its rows")
        return int.from_bytes(self.body[place:end], "little" if self._order == "<" else "big")

    def values(self, places: np.ndarray, kind: str) -> np.ndarray:
        """The numbers at some places, all of which must be inside of the body."""
        spread = places[:, None] + np.arange(int(kind[1]))
        return self._array[spread].view(self._order + kind)[:, 0].astype(kind)

    def column(self, place: int, step: int, count: int, items: int, kind: str) -> np.ndarray:
        """Numbers (count, items) that follow each other in rows of `step` bytes."""
        kind = self._order + kind
        strides = (step, np.dtype(kind).itemsize)
        return np.ndarray((count, items), kind, self.body, place, strides).astype(kind[1:])


class _Words:
    """The rows of a text file; places are counted in numbers."""

    def __init__(self, body: bytes):
        self._numbers = parse_numbers(body)
        self.size = len(self._numbers)

    def width(self, kind: str) -> int:
        return 1

    def number(self, place: int, kind: str) -> int:
        if place >= self.size:
            raise ValueError("it ends within its rows")
        return int(self._numbers[place])

    def values(self, places: np.ndarray, kind: str) -> np.ndarray:
        return _as_kind(self._numbers[places], kind)

    def column(self, place: int, step: int, count: int, items: int, kind: str) -> np.ndarray:
        return _as_kind(np.ndarray((count, items), np.float64, self._numbers, 8 * place, (8 * step, 8)), kind)


def _as_kind(values: np.ndarray, kind: str) -> np.ndarray:
    if kind[0] != "f" and values.size:
        limits = np.iinfo(kind)
        if not (values >= limits.min).all() or not (values <= limits.max).all():
            raise ValueError(f"it has a number that is not of the type that its header announces ({kind})")
    return values.astype(kind)


def _read_rows(tape: _Bytes | _Words, element: PlyElement, place: int) -> int:
    """Fills an element; gives the place behind its last row."""
    properties = element._properties
    smallest = sum(tape.width(length or kind) for _, kind, length in properties)
    if element.count * smallest > tape.size - place:
        raise ValueError(f"it ends within the {element.count} rows of {element.name} that it announces")
    if not element.count or not properties:
        for name, kind, length in properties:
            values = np.empty(0, dtype=kind)
            if length is None:
                element.numbers[name] = values
            else:
                element.lists[name] = (np.empty(0, dtype=np.int64), values)
        return place
    return _read_equal_rows(tape, element, place) or _read_unequal_rows(tape, element, place)


def _read_equal_rows(tape: _Bytes | _Words, element: PlyElement, place: int) -> int | None:
    """Reads rows all of whose lists are as long as those of the first; None if they are not."""
    offsets, lengths, end = [], [], place
    for _, kind, length in element._properties:
        offsets.append(end)
        items = 1 if length is None else tape.number(end, length)
        lengths.append(items)
        end += (0 if length is None else tape.width(length)) + items * tape.width(kind)
        if end > tape.size:
            return None
    step = end - place
    if place + step * element.count > tape.size:
        return None
    for offset, items, (_, _, length) in zip(offsets, lengths, element._properties, strict=True):
        if length is not None and (tape.column(offset, step, element.count, 1, length) != items).any():
            return None
    for offset, items, (name, kind, length) in zip(offsets, lengths, element._properties, strict=True):
        start = offset + (0 if length is None else tape.width(length))
        values = tape.column(start, step, element.count, items, kind)
        if length is None:
            element.numbers[name] = values[:, 0]
        else:
            element.lists[name] = (np.full(element.count, items), values.ravel())
    return place + step * element.count


def _read_unequal_rows(tape: _Bytes | _Words, element: PlyElement, place: int) -> int:
    """Reads rows whose lists differ in length."""
    # Only the lengths tell where the next row begins, so that the rows' beginnings are found one after another.
    steps: list[tuple[int, str | None, int]] = []
    skipped = 0
    for _, kind, length in element._properties:
        if length is None:
            skipped += tape.width(kind)
        else:
            steps.append((skipped, length, tape.width(kind)))
            skipped = 0
    begins = np.empty(element.count + 1, dtype=np.int64)
    begin = place
    for row in range(element.count):
        begins[row] = begin
        for skip, length, width in steps:
            begin += skip
            begin += tape.width(length) + width * tape.number(begin, length)
        begin += skipped
    begins[-1] = begin
    if begin > tape.size:
        raise ValueError(f"it ends within the {element.count} rows of {element.name} that it announces")
    at = begins[:-1].copy()
    for name, kind, length in element._properties:
        if length is None:
            element.numbers[name] = tape.values(at, kind)
            at += tape.width(kind)
        else:
            counts = tape.values(at, length).astype(np.int64)
            at += tape.width(length)
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            element.lists[name] = (counts, tape.values(np.repeat(at, counts) + within * tape.width(kind), kind))
            at += counts * tape.width(kind)
    return begin
