"""Meshes of MegaGlest (.g3d, version 4): the first pose of each.

Little-endian. Head "G3D", a byte of the version, the number of meshes in two bytes and a byte of the kind; then meshes,
each with a head, names of textures, and places and normals of every frame, texture coordinates and indices.
"""

import struct
from dataclasses import dataclass

import numpy as np

from .mesh_parts import DamagedMesh, MeshPart

_HEAD = struct.Struct("<64s3I8f2I")
_NAME = 64  # bytes of a texture's name
TEAM_COLORED = 1  # property: where the texture is transparent, the color of the player shows


@dataclass(frozen=True)
class G3dMesh:
    """
    Holds one mesh of a file.

    Attributes:
        part: its first frame.
        frames: (T, V, 3) float32, the places of all frames.
        is_team_colored: whether transparency means another color, not a hole.
    """

    part: MeshPart
    frames: np.ndarray
    is_team_colored: bool


def read_g3d(data: bytes) -> list[G3dMesh]:
    """
    Reads the meshes of a file that have triangles.

    Raises:
        DamagedMesh: it is no such file, or of another version, or it ends early.
    """
    if data[:3] != b"G3D" or len(data) < 7 or data[3] != 4:
        raise DamagedMesh(f"the file must begin with b'G3D' and a byte of 4, got {data[:4]!r}")
    (count,) = struct.unpack_from("<H", data, 4)
    place, meshes = 7, []
    for _ in range(count):
        mesh, place = _read_mesh(data, place)
        if len(mesh.part.faces):
            meshes.append(mesh)
    return meshes


def _read_mesh(data: bytes, place: int) -> tuple[G3dMesh, int]:
    """Reads the mesh that begins at a place; gives it and where the next one begins."""
    if place + _HEAD.size > len(data):
        raise DamagedMesh(f"the file must have {place + _HEAD.size} bytes or more, got {len(data)}")
    _, frames, vertices, indices, *numbers, properties, textures = _HEAD.unpack_from(data, place)
    place += _HEAD.size
    names = []
    for bit in range(32):
        if textures >> bit & 1:
            names.append(data[place : place + _NAME].split(b"\0")[0].decode("latin-1"))
            place += _NAME
    floats = 3 * frames * vertices
    has_uv = textures != 0
    end = place + 4 * (2 * floats + (2 * vertices if has_uv else 0) + indices)
    if end > len(data):
        raise DamagedMesh(f"the file must have {end} bytes or more, got {len(data)}")
    poses = np.frombuffer(data, "<f4", floats, place).reshape(frames, vertices, 3)
    place += 8 * floats  # normals too
    uv = None
    if has_uv:
        # Some files have coordinates of no use that are not numbers.
        uv = np.nan_to_num(np.frombuffer(data, "<f4", 2 * vertices, place).reshape(vertices, 2), posinf=0, neginf=0)
        place += 8 * vertices
    faces = np.frombuffer(data, "<u4", indices, place).astype(np.int64)
    if indices % 3 or (indices and (faces.max() >= vertices or frames == 0)):
        raise DamagedMesh(
            f"indices must be triangles of {vertices} vertices, got {indices} up to {faces.max(initial=0)}"
        )
    color = tuple(float(min(max(value, 0), 1)) for value in numbers[:3])
    # The first texture has the colors; others are for effects.
    texture = names[0] if textures & 1 else ""
    first = poses[0] if frames else np.empty((0, 3), np.float32)
    part = MeshPart(first, faces.reshape(-1, 3), uv if texture else None, texture, color)
    return G3dMesh(part, poses, bool(properties & TEAM_COLORED)), end
