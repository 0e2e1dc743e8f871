"""Primitives of glTF meshes: attributes (packed by Draco or not, morphed or not), and indices to triangles."""

from types import ModuleType
from typing import Any

import numpy as np

from .colored_mesh_atoken import MeshError
from .gltf_accessors_atoken import normalized, read_accessor
from .gltf_files_atoken import GltfFile
from .mesh_triangles_atoken import strip_triangles

_DRACO = "KHR_draco_mesh_compression"
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_NORMALIZED = ("COLOR_", "WEIGHTS_")


class Primitive:
    """
    Reads one primitive of a mesh.

    Args:
        file: the file.
        entry: the primitive's JSON.
        weights: how much of each morph target is added.
    """

    def __init__(self, file: GltfFile, entry: dict[str, Any], weights: list[float]):
        self._file, self._entry, self._weights = file, entry, weights
        self._draco = _unpack_draco(file, entry)

    @property
    def has_triangles(self) -> bool:
        """Tells whether it is a surface, not points or lines."""
        return self._entry.get("mode", _TRIANGLES) in (_TRIANGLES, _STRIP, _FAN)

    def attribute(self, name: str) -> np.ndarray | None:
        """Gives an attribute, (V, width), with its morph targets added; None if the primitive lacks it."""
        values = self._stored(name)
        if values is None:
            return None
        for weight, target in zip(self._weights, self._entry.get("targets", []), strict=False):
            if weight and name in target:
                change = read_accessor(self._file, target[name])
                if change.shape[0] != len(values) or change.shape[1] > values.shape[1]:
                    raise MeshError(f"{name} of a morph target must have shape {values.shape}, got {change.shape}.")
                values = values.astype(np.float64)
                values[:, : change.shape[1]] += weight * change
        return values

    def faces(self, vertices: int) -> np.ndarray:
        """Gives the triangles (F, 3) int64, rows of the `vertices` vertices."""
        if self._draco is not None:
            faces = np.asarray(self._draco.faces, dtype=np.int64).reshape(-1, 3)
        else:
            faces = self._triangles(vertices)
        if faces.size and faces.max() >= vertices:
            raise MeshError(f"faces must be indices of the {vertices} vertices, got {faces.max()}.")
        return faces

    def _triangles(self, vertices: int) -> np.ndarray:
        mode, indices = self._entry.get("mode", _TRIANGLES), np.arange(vertices)
        if self._entry.get("indices") is not None:
            stored = read_accessor(self._file, self._entry["indices"])
            if stored.dtype.kind != "u" or stored.shape[1] != 1:
                raise MeshError(f"indices must be unsigned integers, got {stored.dtype}, {stored.shape[1]} in a row.")
            indices = stored[:, 0].astype(np.int64)
        if mode == _STRIP:
            return strip_triangles(indices)
        if mode == _FAN:
            last = len(indices) - 1
            return np.stack([np.repeat(indices[:1], max(last - 1, 0)), indices[1:last], indices[2:]], axis=1)
        if len(indices) % 3:
            raise MeshError(f"triangles must have three corners each, got {len(indices)} corners.")
        return indices.reshape(-1, 3)

    def _stored(self, name: str) -> np.ndarray | None:
        index = self._entry.get("attributes", {}).get(name)
        always_normalized = name.startswith(_NORMALIZED)
        packed = self._entry.get("extensions", {}).get(_DRACO, {}).get("attributes", {})
        if self._draco is None or name not in packed:
            return None if index is None else read_accessor(self._file, index, always_normalized)
        attribute = self._draco.get_attribute_by_unique_id(packed[name])
        if attribute is None:
            raise MeshError(f"{name} must be in the data packed by Draco, it is not.")
        values = np.asarray(attribute["data"])
        values = values.reshape(len(values), -1)
        accessor = {} if index is None else self._file.entry("accessors", index)
        return normalized(values) if accessor.get("normalized") or always_normalized else values


def _unpack_draco(file: GltfFile, entry: dict[str, Any]) -> Any:
    """What Draco packed of a primitive, or None where there is nothing, or the same is there unpacked."""
    extension = entry.get("extensions", {}).get(_DRACO)
    if extension is None:
        return None
    try:
        draco = _import_draco()
    except ImportError:
        position = file.entry("accessors", entry["attributes"]["POSITION"])
        if position.get("bufferView") is not None and not file.requires(_DRACO):
            return None
        raise
    return draco.decode(bytes(file.view(extension["bufferView"])))


def _import_draco() -> ModuleType:
    try:
        import DracoPy
    except ImportError as error:
        raise ImportError('Meshes packed by Draco need DracoPy: pip install "atoken[3d]".') from error
    return DracoPy
