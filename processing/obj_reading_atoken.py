"""OBJ files to colored meshes: polygons, colors of vertices, and the materials beside them."""

import re
from pathlib import Path

import numpy as np

from .colored_mesh_atoken import GRAY, ColoredMesh, MeshError
from .media_warnings_atoken import warn_about_media
from .mesh_textures_atoken import TextureShelf, find_file, read_texture
from .mesh_triangles_atoken import polygon_triangles
from .neighbor_files_atoken import LOOKED_IN
from .number_texts_atoken import count_per_line, parse_numbers
from .obj_materials_atoken import ObjMaterial, decode, read_materials
from .stored_colors_atoken import color_shares

_NEWLINE, _BLANK, _SLASH = ord("\n"), ord(" "), ord("/")


def read_obj(path: Path) -> ColoredMesh | None:
    """Reads the polygons of an OBJ file; a face shows its texture, or else the colors of its vertices, or else Kd.

    Args:
        path: an .obj file.

    Returns:
        The mesh in the file's axes; None if it has no faces.

    Raises:
        MeshError: indices that cannot be.
        ValueError: there are no numbers where numbers must be.
    """
    lines = _Lines(path.read_bytes())
    if len(lines.starting_with(b"surf")):
        warn_about_media(f"{path}: curved surfaces are left out; export the object as polygons.")
    if len(lines.starting_with(b"#MRGB")):
        warn_about_media(f"{path}: colors in #MRGB comments are left out; export them as colors of vertices.")
    vertex_lines, uv_lines, face_lines = (
        lines.starting_with(b"v"),
        lines.starting_with(b"vt"),
        lines.starting_with(b"f"),
    )
    numbers, counts = lines.numbers(vertex_lines)
    if counts.min(initial=3) < 3:
        raise MeshError(f"vertices must have three numbers each, got one with {counts.min()}.")
    vertices = _columns(numbers, counts, range(3))
    uv = _columns(*lines.numbers(uv_lines), range(2))
    corners, uv_corners, lengths = lines.faces(face_lines)
    triangles, polygons = polygon_triangles(lengths)
    if not len(triangles):
        return None
    # Negative indices count back from the vertices that stand above the face.
    line_of_corner = np.repeat(face_lines, lengths)
    written, corners = corners, _resolved(corners, np.searchsorted(vertex_lines, line_of_corner))
    uv_corners = _resolved(uv_corners, np.searchsorted(uv_lines, line_of_corner))
    wrong = written[(corners < 0) | (corners >= len(vertices))]
    if len(wrong):
        raise MeshError(f"faces must be indices of the {len(vertices)} vertices, counted from 1, got {wrong[0]}.")
    if uv_corners.max() >= len(uv):
        warn_about_media(f"{path}: faces have texture coordinates that the file lacks, so they show no texture.")
        uv_corners[uv_corners >= len(uv)] = -1
    faces = corners[triangles]
    has_uv = (uv_corners[triangles] >= 0).all(axis=1)
    uv = np.concatenate([uv, np.zeros((1, 2))])[uv_corners[triangles]]  # (F, 3, 2), zeros for index -1
    surface = _Surface(path, lines, face_lines[polygons])
    uv = uv * surface.scale[:, None] + surface.offset[:, None]
    texture_ids = np.where(has_uv, surface.texture_ids, -1)
    colors = np.repeat(surface.diffuse[:, None], 3, axis=1)
    if (counts >= 6).any():
        vertex_colors = color_shares(_columns(numbers, counts, range(3, 6)), path)
        colors = np.where((counts >= 6)[faces][:, :, None], vertex_colors[faces], colors)
    colors[texture_ids >= 0] = 1
    textures, wraps = tuple(surface.shelf.pixels), tuple(surface.shelf.wraps)
    arrays = (colors.astype(np.float32), uv.astype(np.float32), texture_ids)
    return ColoredMesh(vertices, faces, *arrays, textures, wraps)


class _Lines:
    """The lines of an OBJ file, by their first word."""

    def __init__(self, data: bytes):
        data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # A backslash at the end of a line goes on with the next.
        data = b"\n" + data.replace(b"\\\n", b" ") + b"\n"
        indented = b"\n " in data or b"\n\t" in data
        self.data = re.sub(rb"(?m)^[ \t]+", b"", data) if indented else data
        self._bytes = np.frombuffer(self.data, dtype=np.uint8)
        self._ends = np.flatnonzero(self._bytes == _NEWLINE)
        self._starts = np.concatenate([[0], self._ends[:-1] + 1])

    def starting_with(self, word: bytes) -> np.ndarray:
        """Numbers of the lines whose first word this is."""
        starts = self._starts
        starts = starts[starts + len(word) < len(self._bytes)]
        chosen = np.ones(len(starts), dtype=bool)
        for place, letter in enumerate(word):
            chosen &= self._bytes[starts + place] == letter
        after = self._bytes[starts + len(word)]
        return np.flatnonzero(chosen & ((after == _BLANK) | (after == ord("\t"))))

    def texts(self, word: bytes) -> list[tuple[int, str]]:
        """Number and rest of the lines whose first word this is."""
        lines = self.starting_with(word)
        spans = zip(self._starts[lines] + len(word), self._ends[lines], strict=True)
        return [(line, decode(self.data[a:b]).strip()) for line, (a, b) in zip(lines.tolist(), spans, strict=True)]

    def numbers(self, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All numbers of some lines in one row, and how many each line has."""
        text = self._text(lines)
        return parse_numbers(text.tobytes()), count_per_line(text)

    def faces(self, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of vertices and texture coordinates (0 for none) of all corners in a row; how many each line has."""
        text = np.frombuffer(self._text(lines).tobytes().replace(b"//", b"/0/"), dtype=np.uint8)
        counts = count_per_line(text)
        between = text == _SLASH
        numbers = parse_numbers(np.where(between, np.uint8(_BLANK), text).tobytes(), np.int64)
        inside = (text > _BLANK) & ~between
        begins = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
        if len(begins) != len(numbers):
            raise ValueError("faces must be integers, perhaps with slashes between them")
        # The first number of a corner stands behind a blank, the others behind slashes.
        is_first = text[begins - 1] != _SLASH
        firsts = np.flatnonzero(is_first)
        if len(firsts) != counts.sum():
            raise ValueError("corners of faces must begin with a number")
        has_second = ~np.concatenate([is_first, [True]])[firsts + 1]
        seconds = np.where(has_second, np.concatenate([numbers, [0]])[firsts + 1], 0)
        return numbers[firsts], seconds, counts

    def _text(self, lines: np.ndarray) -> np.ndarray:
        """The bytes of some lines, without their first words and comments."""
        chosen = np.zeros(len(self._starts), dtype=bool)
        chosen[lines] = True
        sizes = self._ends - self._starts + 1
        text = self._bytes[np.repeat(chosen, sizes)]
        starts = np.cumsum(sizes[lines]) - sizes[lines]
        text[starts] = _BLANK
        if len(text) and (second := text[starts + 1] == ord("t")).any():
            text[starts[second] + 1] = _BLANK
        if (text == ord("#")).any():
            text = np.frombuffer(re.sub(rb"#[^\n]*", b"", text.tobytes()), dtype=np.uint8)
        return text


class _Surface:
    """What materials say of each face (F): `diffuse` (F, 3), `texture_ids` (F,), `scale` and `offset` (F, 2)."""

    def __init__(self, path: Path, lines: _Lines, face_lines: np.ndarray):
        self.shelf = TextureShelf()
        uses = lines.texts(b"usemtl")
        names = list(dict.fromkeys(name for _, name in uses))
        materials = _materials(path, [name for _, name in lines.texts(b"mtllib")])
        # Each face has the material that was named last above it, or the first row of the tables, which is none.
        places = np.searchsorted(np.array([line for line, _ in uses], dtype=np.int64), face_lines)
        number = {name: index for index, name in enumerate(names, 1)}
        row = np.array([0, *(number[name] for _, name in uses)])[places]
        used = set(np.unique(row).tolist())
        table = [None, *(materials.get(name) for name in names)]
        unknown = [name for index, name in enumerate(names, 1) if index in used and name not in materials]
        if unknown and materials:
            warn_about_media(f"{path}: materials that no material file has: {', '.join(unknown)}.")
        textures = [self._texture(path, each) if index in used else -1 for index, each in enumerate(table)]
        gray = np.full(3, GRAY)
        diffuse = np.array([gray if each is None or each.diffuse is None else each.diffuse for each in table])
        plain = ObjMaterial(path.parent)
        self.diffuse, self.texture_ids = diffuse[row], np.array(textures, dtype=np.int64)[row]
        self.scale = np.array([(each or plain).scale for each in table])[row]
        self.offset = np.array([(each or plain).offset for each in table])[row]

    def _texture(self, path: Path, material: ObjMaterial | None) -> int:
        if material is None or not material.texture:
            return -1
        wrap = ("clamp", "clamp") if material.clamp else ("repeat", "repeat")
        name, folders = material.texture, [material.folder, path.parent]
        return self.shelf.add((name, material.folder), wrap, lambda: read_texture(name, folders, path))


def _materials(path: Path, libraries: list[str]) -> dict[str, ObjMaterial]:
    """The materials of all material files that an OBJ file names; a line may name one with blanks, or several."""
    materials: dict[str, ObjMaterial] = {}
    for library in dict.fromkeys(libraries):
        words = library.split()
        found = find_file(library, [path.parent], path)
        files = [found] if found or len(words) < 2 else [find_file(word, [path.parent], path) for word in words]
        for name, file in zip([library] if len(files) == 1 else words, files, strict=True):
            if file is None:
                warn_about_media(
                    f"{path}: the material file {name} was not found in {LOOKED_IN}, so its colors are left out."
                )
            else:
                materials.update(read_materials(file, path))
    return materials


def _columns(numbers: np.ndarray, counts: np.ndarray, columns: range) -> np.ndarray:
    """Some of the numbers of each line, (lines, columns); 0 where a line has fewer."""
    firsts = np.cumsum(counts) - counts
    padded = np.concatenate([numbers, np.zeros(columns.stop)])
    return np.stack([np.where(counts > column, padded[firsts + column], 0) for column in columns], axis=1)


def _resolved(indices: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Indices from 1, or negative ones that count back from those `above`, to indices from 0; 0 becomes -1."""
    return np.where(indices > 0, indices - 1, np.where(indices < 0, above + indices, -1))
