"""Where the nodes of a glTF scene stand, how often, and how skins bend what they show."""

from typing import Any

import numpy as np

from .colored_mesh_atoken import MeshError
from .gltf_accessors_atoken import normalized, read_accessor
from .gltf_files_atoken import GltfFile


class GltfScene:
    """
    Holds the nodes of the scene that a file shows by default.

    Attributes:
        nodes: indices of the visible nodes.

    Raises:
        MeshError: nodes form no trees.
    """

    def __init__(self, file: GltfFile):
        self._file = file
        count = len(file.document.get("nodes", []))
        children = [list(file.entry("nodes", index).get("children", [])) for index in range(count)]
        below = {child for each in children for child in each}
        # Joints of a skin may stand outside the scene, so that the matrices of all nodes are wanted.
        self._matrices: dict[int, np.ndarray] = {}
        rows = [(index, np.eye(4)) for index in range(count) if index not in below]
        while rows:
            index, parent = rows.pop()
            if index in self._matrices:
                raise MeshError(f"nodes[{index}] must have one parent at most, and none below itself.")
            self._matrices[index] = parent @ _local_matrix(file.entry("nodes", index))
            rows += [(child, self._matrices[index]) for child in reversed(children[index])]
        self.nodes: list[int] = []
        rest = [(root, True) for root in reversed(self._roots(count, below))]
        while rest:
            index, visible = rest.pop()
            node = file.entry("nodes", index)
            extension = node.get("extensions", {}).get("KHR_node_visibility", {})
            visible = visible and extension.get("visible", True) is not False
            if visible:
                self.nodes.append(index)
            if index not in self._matrices or len(self.nodes) > count:
                raise MeshError(f"nodes[{index}] must have one parent at most, and none below itself.")
            rest += [(child, visible) for child in reversed(children[index])]

    def _roots(self, count: int, below: set[int]) -> list[int]:
        scenes = self._file.document.get("scenes", [])
        if not scenes:
            return [index for index in range(count) if index not in below]
        return list(self._file.entry("scenes", self._file.document.get("scene", 0)).get("nodes", []))

    def places(self, index: int) -> np.ndarray:
        """Gives the matrices (instances, 4, 4) by which what a node shows is put into the scene."""
        matrix = self._matrices[index]
        extension = self._file.entry("nodes", index).get("extensions", {}).get("EXT_mesh_gpu_instancing")
        if extension is None:
            return matrix[None]
        attributes = extension.get("attributes", {})
        parts = {}
        for name, width in (("TRANSLATION", 3), ("ROTATION", 4), ("SCALE", 3)):
            if name in attributes:
                values = read_accessor(self._file, attributes[name])
                values = normalized(values) if name == "ROTATION" else values
                if values.shape[1] != width:
                    raise MeshError(f"{name} of instances must have {width} numbers, got {values.shape[1]}.")
                parts[name] = values.astype(np.float64)
        count = min((len(values) for values in parts.values()), default=1)
        parts = {name: values[:count] for name, values in parts.items()}
        return matrix @ _matrices(count, **{name.lower(): values for name, values in parts.items()})

    def skin_matrices(self, skin_index: Any) -> np.ndarray:
        """Gives the matrices (joints, 4, 4) by which the joints of a skin, at rest, put its vertices into the scene."""
        skin = self._file.entry("skins", skin_index)
        joints = [self._matrices[self._checked(joint)] for joint in skin["joints"]]
        matrices = np.stack(joints)
        if skin.get("inverseBindMatrices") is None:
            return matrices
        inverse = read_accessor(self._file, skin["inverseBindMatrices"]).astype(np.float64)
        if inverse.shape[1] != 16 or len(inverse) < len(matrices):
            raise MeshError(f"inverseBindMatrices must be {len(matrices)} matrices, got shape {inverse.shape}.")
        # Matrices are stored column after column.
        return matrices @ inverse[: len(matrices)].reshape(-1, 4, 4).transpose(0, 2, 1)

    def _checked(self, index: Any) -> Any:
        self._file.entry("nodes", index)
        if index not in self._matrices:
            raise MeshError(f"nodes[{index}] must not be below itself.")
        return index


def bend(positions: np.ndarray, joints: np.ndarray, weights: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Moves vertices as the joints do that they hang on.

    Args:
        positions: (V, 3).
        joints: (V, K) integers, rows of `matrices`.
        weights: (V, K), how much each joint counts; scaled to a sum of 1 for every vertex.
        matrices: (joints, 4, 4).

    Returns:
        (V, 3) float64.
    """
    if joints.dtype.kind not in "iu" or (joints.size and not 0 <= joints.min() <= joints.max() < len(matrices)):
        raise MeshError(f"joints must be indices of the {len(matrices)} joints of the skin.")
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1), np.eye(1, weights.shape[1]))
    points = np.concatenate([positions, np.ones((len(positions), 1))], axis=1)
    bent = np.zeros((len(positions), 3))
    for column in range(joints.shape[1]):
        moved = np.einsum("vij,vj->vi", matrices[joints[:, column], :3], points)
        bent += weights[:, column : column + 1] * moved
    return bent


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    if node.get("matrix") is not None:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    parts = {
        name: np.array([node[name]], dtype=np.float64) for name in ("translation", "rotation", "scale") if name in node
    }
    return _matrices(1, **parts)[0]


def _matrices(
    count: int,
    translation: np.ndarray | None = None,
    rotation: np.ndarray | None = None,
    scale: np.ndarray | None = None,
) -> np.ndarray:
    """Matrices (count, 4, 4) that scale, then turn by the quaternion (x, y, z, w), then move."""
    matrices = np.tile(np.eye(4), (count, 1, 1))
    if rotation is not None:
        length = np.linalg.norm(rotation, axis=1, keepdims=True)
        x, y, z, w = np.where(length > 0, rotation / np.where(length > 0, length, 1), [0, 0, 0, 1]).T
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        matrices[:, :3, :3] = np.array(rows).transpose(2, 0, 1)
    if scale is not None:
        matrices[:, :3, :3] *= scale[:, None, :]
    if translation is not None:
        matrices[:, :3, 3] = translation
    return matrices
