"""PLY files to colored meshes: polygons and strips, colors of vertices or faces, and one or several textures."""

from pathlib import Path

import numpy as np

from .colored_mesh_atoken import GRAY, ColoredMesh, MeshError
from .media_warnings_atoken import warn_about_media
from .mesh_textures_atoken import TextureShelf, read_texture
from .mesh_triangles_atoken import polygon_triangles, strip_triangles
from .ply_elements_atoken import PlyElement, read_ply
from .stored_colors_atoken import color_shares

# Names that exporters use, the usual ones first.
_INDICES = ("vertex_indices", "vertex_index")
_COORDINATES = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))
_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_REPEAT = ("repeat", "repeat")


def read_ply_mesh(path: Path) -> ColoredMesh | None:
    """Reads the faces of a PLY file; a face shows its texture, or else the colors of its vertices, or else its own.

    Args:
        path: a .ply file.

    Returns:
        The mesh in the file's axes; None if it has no faces.

    Raises:
        MeshError: indices that cannot be.
        ValueError: the file is damaged.
    """
    elements, comments = read_ply(path.read_bytes(), ("vertex", "face", "tristrips"))
    vertex = elements.get("vertex", PlyElement("vertex", 0))
    face = elements.get("face", elements.get("tristrips", PlyElement("face", 0)))
    if not vertex.count or not face.count:
        return None
    missing = [axis for axis in "xyz" if axis not in vertex.numbers]
    if missing:
        raise MeshError(f"vertices must have x, y and z, {', '.join(missing)} is not there.")
    vertices = np.stack([vertex.numbers[axis] for axis in "xyz"], axis=1).astype(np.float64)
    lengths, values = _indices(face)
    if face.name == "tristrips":
        values = _checked(values, len(vertices), least=-1)
        # Each row is a strip of its own.
        values = np.insert(values, np.cumsum(lengths)[:-1], -1)
        faces = strip_triangles(values)
        faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
        corners, polygons = np.zeros_like(faces), np.zeros(len(faces), dtype=np.int64)
        face = PlyElement("face", 1)
    else:
        corners, polygons = polygon_triangles(lengths)
        faces = _checked(values[corners], len(vertices))
        corners = corners - (np.cumsum(lengths) - lengths)[polygons][:, None]  # places within the polygon
    if not len(faces):
        return None
    colors = np.full((len(faces), 3, 3), GRAY)
    if (stored := _colors(vertex, path)) is not None:
        colors = stored[faces]
    elif (stored := _colors(face, path)) is not None:
        colors = np.repeat(stored[polygons][:, None], 3, axis=1)
    uv, has_uv = _coordinates(vertex, face, faces, lengths, corners, polygons)
    shelf, texture_ids = TextureShelf(), np.full(len(faces), -1, dtype=np.int64)
    names = [comment.split(None, 1)[1] for comment in comments if _names_texture(comment)]
    if names and not has_uv.any():
        warn_about_media(f"{path}: it names the textures {', '.join(names)} and has no coordinates to lay them on.")
    elif names:
        numbers = _texture_numbers(vertex, face, faces, polygons)
        numbers = np.where(has_uv, numbers, -1)
        if numbers.max() >= len(names):
            warn_about_media(f"{path}: faces show the texture {numbers.max()}, of {len(names)} that it names.")
        places = [_place(shelf, name, path) if (numbers == index).any() else -1 for index, name in enumerate(names)]
        inside = (numbers >= 0) & (numbers < len(names))
        texture_ids[inside] = np.array(places)[numbers[inside]]
        colors[texture_ids >= 0] = 1
    return ColoredMesh(
        vertices,
        faces,
        colors.astype(np.float32),
        uv.astype(np.float32),
        texture_ids,
        tuple(shelf.pixels),
        tuple(shelf.wraps),
    )


def _indices(face: PlyElement) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in _INDICES if name in face.lists] or list(face.lists)[:1]
    if not names:
        raise MeshError(f"{face.name} must have a list vertex_indices, it has none.")
    lengths, values = face.lists[names[0]]
    if values.dtype.kind == "f":
        raise MeshError(f"{names[0]} must be integers, got {values.dtype}.")
    return lengths, values.astype(np.int64)


def _checked(indices: np.ndarray, count: int, least: int = 0) -> np.ndarray:
    wrong = indices[(indices < least) | (indices >= count)]
    if len(wrong):
        raise MeshError(f"faces must be indices of the {count} vertices, got {wrong[0]}.")
    return indices


def _colors(element: PlyElement, path: Path) -> np.ndarray | None:
    """Colors (rows, 3) in [0, 1] of vertices or faces, or None."""
    for names in _COLORS:
        if all(name in element.numbers for name in names):
            return color_shares(np.stack([element.numbers[name] for name in names], axis=1), path)
    return None


def _coordinates(
    vertex: PlyElement,
    face: PlyElement,
    faces: np.ndarray,
    lengths: np.ndarray,
    corners: np.ndarray,
    polygons: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates (F, 3, 2) of the corners of triangles, and which triangles (F,) have some."""
    if "texcoord" in face.lists:
        counts, values = face.lists["texcoord"]
        has_uv = (counts == 2 * lengths)[polygons]
        starts = (np.cumsum(counts) - counts)[polygons]
        places = np.where(has_uv[:, None], starts[:, None] + 2 * corners, 0)
        padded = np.concatenate([values.astype(np.float64), [0, 0]])
        uv = np.stack([padded[places], padded[places + 1]], axis=2)
        return np.where(has_uv[:, None, None], uv, 0), has_uv
    for names in _COORDINATES:
        if all(name in vertex.numbers for name in names):
            uv = np.stack([vertex.numbers[name] for name in names], axis=1)
            return uv[faces], np.ones(len(faces), dtype=bool)
    return np.zeros((*faces.shape, 2)), np.zeros(len(faces), dtype=bool)


def _texture_numbers(vertex: PlyElement, face: PlyElement, faces: np.ndarray, polygons: np.ndarray) -> np.ndarray:
    """Which of the textures each triangle shows; the first where nothing says it."""
    if "texnumber" in face.numbers:
        return face.numbers["texnumber"].astype(np.int64)[polygons]
    if "texnumber" in vertex.numbers:
        return vertex.numbers["texnumber"].astype(np.int64)[faces[:, 0]]
    return np.zeros(len(faces), dtype=np.int64)


def _names_texture(comment: str) -> bool:
    return comment.lower().startswith("texturefile") and len(comment.split(None, 1)) == 2


def _place(shelf: TextureShelf, name: str, path: Path) -> int:
    return shelf.add(name, _REPEAT, lambda: read_texture(name, [path.parent], path))
