"""glTF and GLB files to colored meshes."""

from pathlib import Path
from typing import Any

import numpy as np

from .colored_mesh_atoken import ColoredMesh, MeshError
from .gltf_files_atoken import GltfFile, open_gltf
from .gltf_materials_atoken import GltfMaterials
from .gltf_nodes_atoken import GltfScene, bend
from .gltf_primitives_atoken import Primitive
from .media_warnings_atoken import warn_about_media
from .mesh_textures_atoken import TextureShelf
from .size_limits_atoken import MESH_FACES


def read_gltf(path: Path) -> ColoredMesh | None:
    """Reads the default scene of a glTF file, at rest.

    Nodes, instances, skins and default morph weights are carried out. Points and lines are left out.

    Args:
        path: a .glb or .gltf file.

    Returns:
        The mesh in the file's axes, with linear colors; None if it has no faces.

    Raises:
        MeshError: what the file says cannot be, or cannot be read by this package.
        ImportError: the file is packed by Draco, and DracoPy is not installed.
        Exception: the file is damaged.
    """
    file = open_gltf(path)
    scene, shelf = GltfScene(file), TextureShelf()
    materials = GltfMaterials(file, shelf)
    parts: dict[Any, list[_Part]] = {}
    vertices, faces, colors, uvs, texture_ids = [], [], [], [], []
    first_vertex = total = 0
    for index in scene.nodes:
        node = file.entry("nodes", index)
        if node.get("mesh") is None:
            continue
        mesh = file.entry("meshes", node["mesh"])
        weights = node.get("weights") or mesh.get("weights") or []
        key = (node["mesh"], tuple(weights))
        if key not in parts:
            parts[key] = _parts(file, mesh, weights, materials)
        # Instances repeat what takes little room in the file.
        total += len(scene.places(index)) * sum(part.size for part in parts[key])
        MESH_FACES.check(total, "the scene")
        for part in parts[key]:
            placed = part.placed(scene, index, node)  # (instances, V, 3)
            for positions in placed:
                vertices.append(positions)
                faces.append(part.faces + first_vertex)
                first_vertex += len(positions)
            repeats = len(placed)
            colors.append(np.tile(part.colors, (repeats, 1, 1)))
            uvs.append(np.tile(part.uv, (repeats, 1, 1)))
            texture_ids.append(np.full(repeats * len(part.faces), part.texture, dtype=np.int64))
    if not total:
        return None
    arrays = [np.concatenate(each) for each in (vertices, faces, colors, uvs, texture_ids)]
    return ColoredMesh(*arrays, tuple(shelf.pixels), tuple(shelf.wraps), linear_colors=True)


class _Part:
    """One primitive with triangles, before it is put into the scene."""

    def __init__(self, primitive: Primitive, positions: np.ndarray, material: Any, materials: GltfMaterials):
        self._primitive, self._positions = primitive, positions
        self.faces = primitive.faces(len(positions))
        colors, uv, self.texture = materials.surface(material, primitive, self.faces)
        self.colors, self.uv = colors.astype(np.float32), uv.astype(np.float32)

    @property
    def size(self) -> int:
        """Counts faces, or thirds of the vertices where there are more of them."""
        return max(len(self.faces), len(self._positions) // 3)

    def placed(self, scene: GltfScene, index: int, node: dict[str, Any]) -> np.ndarray:
        """Positions (instances, V, 3) in the scene. A skin alone says where its vertices are, not their node."""
        if node.get("skin") is not None:
            joints, weights = self._influences("JOINTS_"), self._influences("WEIGHTS_")
            if joints is not None and weights is not None and joints.shape == weights.shape:
                return bend(self._positions, joints, weights, scene.skin_matrices(node["skin"]))[None]
        matrices = scene.places(index)
        return self._positions @ matrices[:, :3, :3].transpose(0, 2, 1) + matrices[:, None, :3, 3]

    def _influences(self, name: str) -> np.ndarray | None:
        sets = []
        while (values := self._primitive.attribute(f"{name}{len(sets)}")) is not None:
            sets.append(values)
        return np.concatenate(sets, axis=1) if sets else None


def _parts(file: GltfFile, mesh: dict[str, Any], weights: list[float], materials: GltfMaterials) -> list[_Part]:
    parts, left_out, total = [], 0, 0
    for entry in mesh.get("primitives", []):
        primitive = Primitive(file, entry, weights)
        positions = primitive.attribute("POSITION")
        if positions is None or not primitive.has_triangles:
            left_out += 1
            continue
        if positions.shape[1] != 3:
            raise MeshError(f"POSITION must have three numbers, got {positions.shape[1]}.")
        part = _Part(primitive, positions.astype(np.float64), entry.get("material"), materials)
        if len(part.faces):
            parts.append(part)
            total += part.size
            MESH_FACES.check(total, "a mesh")
    if left_out and parts:
        warn_about_media(f"{file.path}: points and lines are left out, {left_out} parts of a mesh with faces.")
    return parts
