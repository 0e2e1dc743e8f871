"""Mesh files to triangles with colors."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_UP = {".glb": "y", ".gltf": "y", ".obj": "y", ".ply": "z", ".stl": "z"}
SUFFIXES = tuple(_UP)
_GRAY = 0.6


@dataclass(frozen=True)
class ColoredMesh:
    """
    Triangles with what is needed to look up their color.

    The color at a point of a face is that of its corners, interpolated, times that of the face's texture there.

    Args:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, indices of vertices.
        corner_colors: (F, 3, 3) float32 in [0, 1], red, green and blue at the corners of each face.
        uv: (F, 3, 2) float32, texture coordinates of the corners, v upwards; they repeat outside [0, 1].
        texture_ids: (F,) int64, which of `textures` a face shows; -1 for none.
        textures: arrays (H, W, 3) float32 in [0, 1], the top row first.

    Raises:
        ValueError: the arrays do not fit together, or describe no solid object.
    """

    vertices: np.ndarray
    faces: np.ndarray
    corner_colors: np.ndarray
    uv: np.ndarray
    texture_ids: np.ndarray
    textures: tuple[np.ndarray, ...] = ()

    def __post_init__(self):
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3 or not len(self.vertices):
            raise ValueError(f"vertices must be (V, 3), V at least 1, got shape {self.vertices.shape}.")
        if not np.isfinite(self.vertices).all():
            raise ValueError("vertices must be finite, got NaN or infinite values.")
        count = len(self.faces)
        if self.faces.shape != (count, 3) or not count:
            raise ValueError(f"faces must be (F, 3), F at least 1, got shape {self.faces.shape}.")
        if self.faces.dtype.kind not in "iu":
            raise ValueError(f"faces must be integers, got {self.faces.dtype}.")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise ValueError(
                f"faces must be 0 to {len(self.vertices) - 1}, the rows of vertices, got indices from "
                f"{self.faces.min()} to {self.faces.max()}."
            )
        for name, shape in (("corner_colors", (count, 3, 3)), ("uv", (count, 3, 2)), ("texture_ids", (count,))):
            value = getattr(self, name)
            if value.shape != shape:
                raise ValueError(f"{name} must be {shape}, got shape {value.shape}.")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite, got NaN or infinite values.")
        if self.texture_ids.min() < -1 or self.texture_ids.max() >= len(self.textures):
            raise ValueError(
                f"texture_ids must be -1 to {len(self.textures) - 1}, indices of textures, got values from "
                f"{self.texture_ids.min()} to {self.texture_ids.max()}."
            )

    def normalized(self) -> "ColoredMesh":
        """Moves the middle of the mesh to 0 and scales its longest side to 1; `ValueError` if it has no size."""
        used = self.vertices[np.unique(self.faces)]
        low, high = used.min(axis=0), used.max(axis=0)
        longest = (high - low).max()
        if not longest > 0:
            raise ValueError("vertices must have an extent, got an object whose vertices all lie in one point.")
        vertices = (self.vertices - (low + high) / 2) / longest
        return ColoredMesh(vertices, self.faces, self.corner_colors, self.uv, self.texture_ids, self.textures)


def read_mesh(path: str | os.PathLike, up: str | None = None, name: str = "mesh") -> ColoredMesh:
    """Read a mesh file, put its center at 0 and make its longest side 1.

    All geometries of a scene are taken, at their places, and turned so that z is up, as in the cameras. Colors are
    those of vertices or faces and of the base color of a material times its texture, without any lighting; a missing
    texture file is passed over, and a mesh without colors is gray. Transparency is ignored: a face is opaque, whatever
    the alpha of its material, texture or vertices, so leaves cut out by a texture are whole cards.

    Args:
        path: a .glb, .gltf, .obj, .ply or .stl file.
        up: the file's axis that points up, "y" or "z"; by default y for glTF, which states it, and for OBJ, whose usual
            exporters write it so, and z for PLY and STL.
        name: what to call it in an error message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another format or axis, a damaged file, or one without faces; the message says which.
        ImportError: trimesh is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{name} must be a mesh file, got {path}, which does not exist.")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{name} must be a file that ends in {', '.join(SUFFIXES)}, got {path.name}.")
    if up not in (None, "y", "z"):
        raise ValueError(f"up must be 'y' or 'z', got {up!r}.")
    trimesh = _import_trimesh()
    try:
        scene = trimesh.load_scene(path, process=False)
        geometries = scene.dump()
    # The readers of trimesh raise whatever the damaged bytes happen to lead to.
    except Exception as error:
        raise ValueError(f"{name}: {path.name} cannot be read ({type(error).__name__}: {error}).") from error
    geometries = [part for part in geometries if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not geometries:
        raise ValueError(f"{name} must be a surface, not points or lines, got {path.name}, which has no faces.")
    try:
        mesh = _join(geometries)
        if (up or _UP[path.suffix.lower()]) == "y":
            mesh.vertices[:] = mesh.vertices[:, [0, 2, 1]] * [1, -1, 1]
        return mesh.normalized()
    except ValueError as error:
        raise ValueError(f"{name}: {path.name}: {error}") from error


def _import_trimesh() -> ModuleType:
    try:
        import trimesh
    except ImportError as error:
        raise ImportError('Reading meshes needs trimesh: pip install "atoken[3d]".') from error
    return trimesh


def _join(geometries: list[Any]) -> ColoredMesh:
    """Put geometries one after another; the faces of each then index its own vertices and texture."""
    vertices, faces, colors, uvs, texture_ids, textures = [], [], [], [], [], []
    offset = 0
    for part in geometries:
        part_faces = np.asarray(part.faces, dtype=np.int64)
        if part_faces.min() < 0 or part_faces.max() >= len(part.vertices):
            raise ValueError(f"faces must be indices of the {len(part.vertices)} vertices, got {part_faces.max()}.")
        color, uv, texture = _appearance(part, part_faces)
        vertices.append(np.asarray(part.vertices, dtype=np.float64))
        faces.append(part_faces + offset)
        colors.append(color.astype(np.float32))
        uvs.append(uv.astype(np.float32))
        texture_ids.append(np.full(len(part_faces), -1 if texture is None else len(textures), dtype=np.int64))
        if texture is not None:
            textures.append(texture)
        offset += len(part.vertices)
    return ColoredMesh(*map(np.concatenate, (vertices, faces, colors, uvs, texture_ids)), tuple(textures))


def _appearance(part: Any, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Corner colors (F, 3, 3), texture coordinates (F, 3, 2) and the texture (H, W, 3), if any, of one geometry."""
    count = len(faces)
    colors, uv = np.full((count, 3, 3), _GRAY), np.zeros((count, 3, 2))
    visual = part.visual
    if visual.kind == "vertex":
        return visual.vertex_colors[:, :3][faces] / 255, uv, None
    if visual.kind == "face":
        return np.repeat(visual.face_colors[:, None, :3] / 255, 3, axis=1), uv, None
    if visual.kind != "texture":
        return colors, uv, None
    material = visual.material
    is_pbr = hasattr(material, "baseColorFactor")
    image = material.baseColorTexture if is_pbr else getattr(material, "image", None)
    factor = material.baseColorFactor if is_pbr else None
    has_texture = image is not None and visual.uv is not None
    if is_pbr and factor is not None:
        colors[:] = np.asarray(factor)[:3] / (255 if np.asarray(factor).dtype.kind in "iu" else 1)
    elif has_texture:
        colors[:] = 1
    elif not is_pbr and getattr(material, "diffuse", None) is not None:
        colors[:] = np.asarray(material.diffuse)[:3] / 255
    extra = getattr(visual, "vertex_attributes", {}).get("color")
    if extra is not None and len(extra) == len(part.vertices):
        # glTF multiplies the colors of vertices with the material; without a base color the latter is white.
        base = colors if factor is not None or has_texture else 1
        colors = base * (extra[:, :3] / (255 if extra.dtype.kind in "iu" else 1))[faces]
    if not has_texture:
        return colors, uv, None
    texture = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return colors, np.asarray(visual.uv)[faces], texture
