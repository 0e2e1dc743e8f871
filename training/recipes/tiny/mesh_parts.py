"""Parts of a textured mesh, as readers of game formats give them, and the OBJ files that they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np


class DamagedMesh(ValueError):
    """Says that a file is not in the format that it should be in."""


@dataclass(frozen=True)
class MeshPart:
    """
    Holds triangles of one material.

    Attributes:
        vertices: (V, 3) float32, right-handed, y upwards.
        faces: (F, 3) int64.
        uv: (V, 2) float32, v upwards, if it has a texture.
        texture: name of the texture's file, as the mesh file has it; empty without one.
        color: red, green and blue in [0, 1], of parts without a texture.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None
    texture: str = ""
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)


def obj_files(name: str, parts: Sequence[MeshPart], textures: Mapping[str, bytes]) -> dict[str, bytes]:
    """
    Makes of parts an OBJ file, its materials, and its textures as they are.

    Args:
        name: of the OBJ file, without the suffix.
        parts: at least one.
        textures: picture files by the names that the parts have for them; a part without a picture has its color.

    Returns:
        The content of each file, by name.
    """
    used = sorted({part.texture for part in parts} & set(textures))
    # Names of their own: those of packages may have blanks, which materials cannot name.
    names = {texture: f"texture{index}{PurePosixPath(texture).suffix.lower()}" for index, texture in enumerate(used)}
    lines, materials = [f"mtllib {name}.mtl"], []
    vertices, corners = 1, 1
    for index, part in enumerate(parts):
        materials += [f"newmtl part{index}", "Kd " + " ".join(f"{channel:.4f}" for channel in part.color)]
        lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in part.vertices.tolist()]
        lines.append(f"usemtl part{index}")
        if part.uv is not None and part.texture in names:
            materials.append(f"map_Kd {names[part.texture]}")
            lines += [f"vt {u:.6g} {v:.6g}" for u, v in part.uv.tolist()]
            pairs = [[f"{vertices + i}/{corners + i}" for i in face] for face in part.faces.tolist()]
            corners += len(part.uv)
        else:
            pairs = [[f"{vertices + i}" for i in face] for face in part.faces.tolist()]
        lines += [f"f {' '.join(pair)}" for pair in pairs]
        vertices += len(part.vertices)
    files = {names[texture]: textures[texture] for texture in used}
    files[f"{name}.obj"] = ("\n".join(lines) + "\n").encode()
    files[f"{name}.mtl"] = ("\n".join(materials) + "\n").encode()
    return files
