"""Mesh files to triangles with colors."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from .colored_mesh_atoken import GRAY, ColoredMesh, MeshError
from .gltf_reading_atoken import read_gltf
from .obj_reading_atoken import read_obj
from .ply_mesh_reading_atoken import read_ply_mesh

_UP = {".glb": "y", ".gltf": "y", ".obj": "y", ".ply": "z", ".stl": "z"}
SUFFIXES = tuple(_UP)


def read_mesh(path: str | os.PathLike, up: str | None = None, name: str = "mesh") -> ColoredMesh:
    """Read a mesh file, put its center at 0 and make its longest side 1.

    All geometries of a scene are taken, at their places and at rest, and turned so that z is up, as in the cameras.
    Colors are without any lighting. In glTF they are the base color of the material times its texture times the colors
    of vertices; in other files a face shows its texture, or else the colors of its vertices, or its own, or the diffuse
    color of its material. What has no color is gray. Transparency is ignored: a face is opaque, whatever the alpha of
    its material, texture or vertices, so leaves cut out by a texture are whole cards.

    What is lost without making the mesh useless, such as a texture file that is not there, is said in a `MediaWarning`.

    Args:
        path: a .glb, .gltf, .obj, .ply or .stl file.
        up: the file's axis that points up, "y" or "z"; by default y for glTF, which states it, and for OBJ, whose usual
            exporters write it so, and z for PLY and STL.
        name: what to call it in an error message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another format or axis, a damaged file, one without faces, or one that requires what cannot be read;
            the message says which.
        ImportError: trimesh is not installed and the file is STL, or DracoPy and it is packed by Draco.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{name} must be a mesh file, got {path}, which does not exist.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{name} must be a file that ends in {', '.join(SUFFIXES)}, got {path.name}.")
    if up not in (None, "y", "z"):
        raise ValueError(f"up must be 'y' or 'z', got {up!r}.")
    try:
        mesh = _READERS[suffix](path)
        if mesh is not None:
            if (up or _UP[suffix]) == "y":
                mesh = replace(mesh, vertices=mesh.vertices[:, [0, 2, 1]] * [1, -1, 1])
            return mesh.normalized()
    except ImportError:
        raise
    except MeshError as error:
        raise ValueError(f"{name}: {path.name}: {error}") from error
    # Damaged bytes may lead to anything.
    except Exception as error:
        raise ValueError(f"{name}: {path.name} cannot be read ({type(error).__name__}: {error}).") from error
    raise ValueError(f"{name} must be a surface, not points or lines, got {path.name}, which has no faces.")


def _read_stl(path: Path) -> ColoredMesh | None:
    trimesh = _import_trimesh()
    parts = trimesh.load_scene(path, process=False).dump()
    parts = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not parts:
        return None
    firsts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [np.asarray(part.faces, dtype=np.int64) + first for part, first in zip(parts, firsts[:-1], strict=True)]
    faces, vertices = np.concatenate(faces), np.concatenate([part.vertices for part in parts]).astype(np.float64)
    colors, uv = np.full((len(faces), 3, 3), GRAY, dtype=np.float32), np.zeros((len(faces), 3, 2), dtype=np.float32)
    return ColoredMesh(vertices, faces, colors, uv, np.full(len(faces), -1, dtype=np.int64))


def _import_trimesh() -> ModuleType:
    try:
        import trimesh
    except ImportError as error:
        raise ImportError('Reading STL files needs trimesh: pip install "atoken[3d]".') from error
    return trimesh


_READERS: dict[str, Callable[[Path], ColoredMesh | None]] = {
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".obj": read_obj,
    ".ply": read_ply_mesh,
    ".stl": _read_stl,
}
