"""PLY files as tables of numbers: binary of either byte order, or ascii, with elements and properties in any order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Without byte order: the file says it.
_TYPES = {
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass
class _Element:
    """
    Describes the rows of one kind.

    Attributes:
        name, count: such as vertex, and how many rows.
        properties: (name, its number type, the number type of its length if it is a list) of each column.
    """

    name: str
    count: int
    properties: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        return any(length for _, _, length in self.properties)


def read_ply_tables(path: str | Path, data: bytes, wanted: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """
    Reads elements of a PLY file; others, such as cameras or faces, are passed over.

    Args:
        path: what to call the file in an error message.
        data: its bytes.
        wanted: names of elements whose properties are plain numbers.

    Returns:
        For each of the wanted elements that the file has, its columns by name, (rows,) each, in the types of the file
        (float64 if it is ascii).

    Raises:
        ValueError: if the bytes are no PLY file, the file is cut off, or a wanted element has lists.
    """
    head, end, body = data.partition(b"\nend_header")
    newline = body.find(b"\n")
    if not data.startswith(b"ply") or not end or newline < 0:
        raise ValueError(f"path: {path} is not a PLY file: it has no PLY header")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    form = next((line[1] for line in lines if len(line) > 1 and line[0] == "format"), None)
    if form not in _BYTE_ORDERS:
        raise ValueError(f"path: {path} must be {', '.join(_BYTE_ORDERS)}, got {form}")
    elements = _elements(path, lines)
    missing = set(wanted) & {element.name for element in elements}
    body = body[newline + 1 :]
    reader = _AsciiBody(body) if form == "ascii" else _BinaryBody(body, _BYTE_ORDERS[form])
    tables = {}
    for element in elements:
        if not missing:
            break
        try:
            if element.name not in missing:
                reader.skip(element)
            elif element.has_lists:
                raise ValueError(f"element {element.name} has lists")
            else:
                tables[element.name] = reader.take(element)
                missing.discard(element.name)
        except (ValueError, OverflowError, IndexError) as error:
            raise ValueError(
                f"path: {path} is cut off or damaged, {element.count} rows of {element.name} are announced ({error})"
            ) from error
    return tables


def _elements(path: str | Path, lines: list[list[str]]) -> list[_Element]:
    elements: list[_Element] = []
    for line in lines:
        if line[:1] == ["element"]:
            if len(line) != 3 or not line[2].isdigit():
                raise ValueError(f"path: {path} must say `element NAME COUNT`, got {' '.join(line)}")
            elements.append(_Element(line[1], int(line[2])))
        elif line[:1] == ["property"]:
            is_list = line[1:2] == ["list"]
            kinds = line[2:4] if is_list else line[1:2]
            if len(line) != (5 if is_list else 3) or not elements or any(kind not in _TYPES for kind in kinds):
                raise ValueError(f"path: {path} must hold properties that are numbers, got {' '.join(line)}")
            elements[-1].properties.append((line[-1], _TYPES[kinds[-1]], _TYPES[kinds[0]] if is_list else None))
    for element in elements:
        names = [name for name, _, _ in element.properties]
        if len(set(names)) < len(names):
            raise ValueError(f"path: {path} names a property twice in element {element.name}: {', '.join(names)}")
    return elements


class _BinaryBody:
    """Goes through the rows of a binary file."""

    def __init__(self, body: bytes, order: str):
        self.body, self.order, self.place = body, order, 0

    def take(self, element: _Element) -> dict[str, np.ndarray]:
        row = np.dtype([(name, self.order + kind) for name, kind, _ in element.properties])
        table = np.frombuffer(self.body, row, element.count, self.place) if element.count else np.empty(0, row)
        self.place += table.nbytes
        return {name: table[name] for name in row.names or ()}

    def skip(self, element: _Element) -> None:
        if not element.has_lists:
            row = np.dtype([("", self.order + kind) for _, kind, _ in element.properties])
            self.place += row.itemsize * element.count
            return
        for kind, length in _values(element):
            count = 1 if length is None else _length(self._number(length))
            self.place += np.dtype(kind).itemsize * count

    def _number(self, kind: str) -> np.generic:
        value = np.frombuffer(self.body, self.order + kind, 1, self.place)
        self.place += value.nbytes
        return value[0]


class _AsciiBody:
    """Goes through the rows of an ascii file, whose values are separated by any white space."""

    def __init__(self, body: bytes):
        self.values, self.place = body.split(), 0

    def take(self, element: _Element) -> dict[str, np.ndarray]:
        width = len(element.properties)
        values = self.values[self.place : self.place + width * element.count]
        self.place += len(values)
        rows = np.array(values, dtype=np.float64).reshape(element.count, width)
        return {name: rows[:, column] for column, (name, _, _) in enumerate(element.properties)}

    def skip(self, element: _Element) -> None:
        if not element.has_lists:
            self.place += len(element.properties) * element.count
            return
        for _, length in _values(element):
            self.place += 1 if length is None else 1 + _length(self.values[self.place])


def _length(value: np.generic | bytes) -> int:
    """The length of a list; `ValueError` for a negative one, with which reading would go back and never end."""
    length = int(value)
    if length < 0:
        raise ValueError(f"a list must have a length of at least 0, got {length}")
    return length


def _values(element: _Element) -> Iterator[tuple[str, str | None]]:
    """Names the number types of all values of an element, row after row."""
    for _ in range(element.count):
        for _, kind, length in element.properties:
            yield kind, length


__all__ = ["read_ply_tables"]
