"""Accessors of glTF files to arrays: every type of number, interleaved, normalized and sparse."""

from typing import Any

import numpy as np

from .colored_mesh_atoken import MeshError
from .gltf_files_atoken import GltfFile

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
# Accessors without bytes of their own may have this many rows in any file.
_FREE_ROWS = 1 << 16


def read_accessor(file: GltfFile, index: Any, always_normalized: bool = False) -> np.ndarray:
    """Reads an accessor.

    Args:
        file: the file.
        index: which of its accessors.
        always_normalized: divide integers by their largest value even if the accessor does not say so: no other meaning
            of integers is allowed for colors and weights, and some exporters forget to say it.

    Returns:
        (rows, width): integers as they are stored, unless they are normalized; float32 as stored; normalized integers
        as float64.

    Raises:
        MeshError, ValueError: there is no such accessor, or it does not fit its buffer.
    """
    accessor = file.entry("accessors", index)
    kind, width, count = _shape(accessor, index)
    sparse = accessor.get("sparse")
    if accessor.get("bufferView") is None:
        # Zeros take no room in the file, so that a damaged one may ask for any number of them.
        if count > max(_FREE_ROWS, file.bytes_of_buffers()):
            raise ValueError(f"accessors[{index}] has {count} rows and no data")
        values = np.zeros((count, width), dtype=kind)
    else:
        view = file.entry("bufferViews", accessor["bufferView"])
        data = file.view(accessor["bufferView"])
        where = f"accessors[{index}]"
        values = _rows(data, accessor.get("byteOffset", 0), view.get("byteStride"), kind, count, width, where)
    if sparse is not None:
        values = _with_sparse(file, values, sparse, index)
    return normalized(values) if accessor.get("normalized") or always_normalized else values


def normalized(values: np.ndarray) -> np.ndarray:
    """Divides integers by the largest of their type, to [0, 1] or [-1, 1] float64; leaves floats as they are."""
    if values.dtype.kind == "f":
        return values
    return np.maximum(values / float(np.iinfo(values.dtype).max), -1.0)


def _shape(accessor: dict[str, Any], index: Any) -> tuple[np.dtype, int, int]:
    kind, form, count = accessor.get("componentType"), accessor.get("type"), accessor.get("count")
    if kind not in _TYPES or form not in _WIDTHS:
        raise MeshError(f"accessors[{index}] must have a type of numbers of glTF, got {kind!r}, {form!r}.")
    if not isinstance(count, int) or count < 0:
        raise MeshError(f"accessors[{index}].count must be an integer of at least 0, got {count!r}.")
    return np.dtype(_TYPES[kind]), _WIDTHS[form], count


def _rows(
    data: memoryview, offset: int, stride: int | None, kind: np.dtype, count: int, width: int, where: str
) -> np.ndarray:
    """Numbers (count, width) from bytes in which rows follow each other, perhaps with others between them."""
    row = kind.itemsize * width
    stride = stride or row
    if offset < 0 or stride < 0 or (count and offset + stride * (count - 1) + row > len(data)):
        raise ValueError(f"{where} has {count} rows of {row} bytes, which do not fit the {len(data)} bytes it has")
    return np.ndarray((count, width), kind, data, offset, (stride, kind.itemsize)).copy()


def _with_sparse(file: GltfFile, values: np.ndarray, sparse: dict[str, Any], index: Any) -> np.ndarray:
    """Puts the rows that a sparse accessor states one by one in the place of others."""
    places, changes, count = sparse["indices"], sparse["values"], sparse["count"]
    if not isinstance(count, int) or not 0 <= count <= len(values):
        raise ValueError(f"accessors[{index}].sparse.count must be 0 to {len(values)}, got {count!r}")
    kind = np.dtype(_TYPES[places["componentType"]])
    where = f"accessors[{index}].sparse"
    rows = _rows(file.view(places["bufferView"]), places.get("byteOffset", 0), None, kind, count, 1, where)[:, 0]
    if kind.kind != "u" or (count and rows.max() >= len(values)):
        raise ValueError(f"{where} must have indices below {len(values)}")
    width = values.shape[1]
    data = file.view(changes["bufferView"])
    values[rows] = _rows(data, changes.get("byteOffset", 0), None, values.dtype, count, width, where)
    return values
