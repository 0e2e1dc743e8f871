"""Meshes of SuperTuxKart (.spm): static geometry, without bones, normals and lightmaps.

Little-endian. Head "SP", a byte of version * 8 + kind (kind 1 has bones), a byte of flags and 6 floats of the bounding
box; then materials, each with the names of two textures; then buffers of vertices and indices, of one material each.
"""

import struct

import numpy as np

from .mesh_parts import DamagedMesh, MeshPart

NORMALS, COLORS, TANGENTS = 1, 2, 4  # flags
BONES = 1  # kind


class _Reader:
    """Takes values off the front of bytes."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def bytes(self, count: int) -> bytes:
        if self.place + count > len(self.data):
            raise DamagedMesh(f"the file must have {self.place + count} bytes or more, got {len(self.data)}")
        self.place += count
        return self.data[self.place - count : self.place]

    def value(self, code: str) -> int:
        return struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))[0]

    def name(self) -> str:
        return self.bytes(self.value("B")).decode("utf-8")


def read_spm(data: bytes) -> list[MeshPart]:
    """
    Reads the buffers of a file that have triangles.

    The format's z axis points away from what x and y (upwards) make right-handed, so it is turned around, and v counts
    downwards.

    Raises:
        DamagedMesh: it is no such file, or it ends early.
    """
    reader = _Reader(data)
    if reader.bytes(2) != b"SP":
        raise DamagedMesh(f"the file must begin with b'SP', got {data[:2]!r}")
    kind, flags = reader.value("B") & 7, reader.value("B")
    reader.bytes(24)
    materials = [(reader.name(), reader.name()) for _ in range(reader.value("H"))]
    parts = []
    for _ in range(reader.value("H")):
        for _ in range(reader.value("H")):
            count, indices, material = reader.value("I"), reader.value("I"), reader.value("H")
            if material >= len(materials):
                raise DamagedMesh(f"a buffer's material must be below {len(materials)}, got {material}")
            part = _read_buffer(reader, count, indices, materials[material], flags, has_bones=kind == BONES)
            if len(part.faces):
                parts.append(part)
    return parts


def _read_buffer(
    reader: _Reader, count: int, indices: int, material: tuple[str, str], flags: int, has_bones: bool
) -> MeshPart:
    """Reads the vertices and triangles of one material."""
    texture, second = material
    places, uv = np.empty((count, 3), np.float32), np.empty((count, 2), np.float32)
    for index in range(count):
        places[index] = np.frombuffer(reader.bytes(12), "<f4")
        if flags & NORMALS:
            reader.bytes(4)
        # 128 stands for white, anything else for the first of four bytes.
        if flags & COLORS and reader.value("B") != 128:
            reader.bytes(3)
        if texture:
            uv[index] = np.frombuffer(reader.bytes(4), "<f2")
            if second:
                reader.bytes(4)
            if flags & TANGENTS:
                reader.bytes(4)
        if has_bones:
            reader.bytes(16)
    wide = count > 255
    faces = np.frombuffer(reader.bytes(indices * (2 if wide else 1)), "<u2" if wide else "u1").astype(np.int64)
    if indices % 3 or (indices and faces.max() >= count):
        raise DamagedMesh(f"indices must be triangles of {count} vertices, got {indices} up to {faces.max(initial=0)}")
    places *= np.array([1, 1, -1], np.float32)
    # Some files have coordinates of no use that are not numbers.
    uv = np.nan_to_num(uv, posinf=0, neginf=0) * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    return MeshPart(places, faces.reshape(-1, 3)[:, ::-1].copy(), uv if texture else None, texture)
