"""OBJ and PLY meshes with what exporters make of them: names of textures, options, polygons, types of colors."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.mesh_triangles_atoken import polygon_triangles, strip_triangles

from .glb_builder import QUADRANTS, png, quadrant_picture, quadrants

pytest.importorskip("embreex")

PICTURE = png(quadrant_picture())
SQUARE = "v -.5 -.5 0\nv .5 -.5 0\nv .5 .5 0\nv -.5 .5 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "f 1/1 2/2 3/3 4/4\n"


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Writes files below a folder; gives the path of the first."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / next(iter(files))


def obj(folder: Path, texture_line: str, texture_file: str, library: str = "m.mtl", more: str = "") -> Path:
    material = f"newmtl a\n{more}{texture_line}\n"
    text = f"mtllib {library}\n{SQUARE}usemtl a\n{FACE}"
    files = {"model/a.obj": text, "model/m.mtl": material, texture_file: PICTURE}
    return write(folder, files)


FOUND = {
    "plain": ("map_Kd t.png", "model/t.png"),
    "parent folder": ("map_Kd ../images/t.png", "images/t.png"),
    "dot": ("map_Kd ./sub/t.png", "model/sub/t.png"),
    "blanks": ("map_Kd my tex.png", "model/my tex.png"),
    "quoted": ('map_Kd "my tex.png"', "model/my tex.png"),
    "tab": ("map_Kd\tt.png", "model/t.png"),
    "backslash": ("map_Kd sub\\t.png", "model/sub/t.png"),
    "backslashes up": ("map_Kd ..\\images\\t.png", "images/t.png"),
    "percent": ("map_Kd my%20tex.png", "model/my tex.png"),
    "accents": ("map_Kd färbe.png", "model/färbe.png"),
    "other case": ("map_Kd Sub/T.PNG", "model/sub/t.png"),
    "lower case key": ("map_kd t.png", "model/t.png"),
    "scale and offset": ("map_Kd -s 1 1 1 -o 0 0 0 t.png", "model/t.png"),
    "short options": ("map_Kd -o 0 -s 1 1 t.png", "model/t.png"),
    "clamp": ("map_Kd -clamp on t.png", "model/t.png"),
    "many options": ("map_Kd -blendu on -blendv off -cc off -bm 1.0 -texres 64 -imfchan l t.png", "model/t.png"),
    "gain": ("map_Kd -mm 0 1 -t 0 0 0 my tex.png", "model/my tex.png"),
    "name that is a number": ("map_Kd -s 1 1 1 2.png", "model/2.png"),
    "name with a dash": ("map_Kd -tex-.png", "model/-tex-.png"),
}


@pytest.mark.parametrize("case", FOUND)
def test_textures_are_found(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", MediaWarning)
        mesh = read_mesh(obj(tmp_path, *FOUND[case], more="Kd .2 .4 .6\n"), up="y")
    # The texture alone is shown, not its product with Kd.
    assert quadrants(mesh) == QUADRANTS


TAKEN = {
    "path of another machine": ("map_Kd C:\\Users\\me\\tex\\t.png", "model/t.png"),
    "path of another system": ("map_Kd /home/me/tex/t.png", "model/textures/t.png"),
    "folder that was renamed": ("map_Kd tex/t.png", "model/textures/t.png"),
    "folder beside": ("map_Kd t.png", "images/t.png"),
    "base name in another case": ("map_Kd D:\\T.PNG", "model/maps/t.png"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_textures_taken_as_a_last_resort_are_named(case, tmp_path):
    line, file = TAKEN[case]
    with pytest.warns(MediaWarning, match=r"a\.obj: .* was not found; .*t\.png was taken for it"):
        assert quadrants(read_mesh(obj(tmp_path, line, file))) == QUADRANTS


def test_material_files(tmp_path):
    files = {"my model.mtl": "newmtl my red\nKd 1 0 0\n", "b.mtl": "newmtl two\nKd 0 1 0\n"}
    files["c.mtl"] = "newmtl 3\nKd .5\n"
    text = f"# a\nmtllib my model.mtl\nmtllib b.mtl c.mtl\n{SQUARE}"
    text += "usemtl my red\nf 1 2 3\nusemtl two\nf 1 3 4\nusemtl 3\nf 2 3 4\nusemtl other\nf 1 2 4\n"
    with pytest.warns(MediaWarning, match="materials that no material file has: other"):
        mesh = read_mesh(write(tmp_path, {"a.obj": text, **files}))
    expected = [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5], [0.6, 0.6, 0.6]]
    np.testing.assert_allclose(mesh.corner_colors[:, 0], expected, atol=1e-7)


def test_what_is_lost_is_named(tmp_path):
    with pytest.warns(MediaWarning, match=r"a\.obj: the material file m2\.mtl was not found"):
        read_mesh(obj(tmp_path, "map_Kd t.png", "t.png", library="m2.mtl"))
    with pytest.warns(MediaWarning, match=r"a\.obj: the texture gone\.png was not found"):
        mesh = read_mesh(obj(tmp_path, "map_Kd gone.png", "t.png", more="Kd .2 .4 .6\n"))
    assert set(quadrants(mesh).values()) == {(51, 102, 153)}
    write(tmp_path, {"model/broken.png": PICTURE[:50]})
    with pytest.warns(MediaWarning, match=r"a\.obj: the texture broken\.png cannot be read"):
        read_mesh(obj(tmp_path, "map_Kd broken.png", "t.png"))
    with pytest.warns(MediaWarning, match=r"a\.obj: the material a has only a texture map_ke"):
        read_mesh(obj(tmp_path, "map_Ke t.png", "t.png"))
    with pytest.warns(MediaWarning, match=r"a\.obj: of the texture of a the option -mm 0\.5 2"):
        read_mesh(obj(tmp_path, "map_Kd -mm 0.5 2 t.png", "model/t.png"))


@pytest.mark.parametrize("clamp", [False, True])
def test_scale_offset_and_clamp(clamp, tmp_path):
    line = f"map_Kd -s 2 0.5 1 -o .25 -.1 0 {'-clamp on ' if clamp else ''}t.png"
    mesh = read_mesh(obj(tmp_path, line, "model/t.png"))
    expected = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [2, 0.5] + [0.25, -0.1]
    np.testing.assert_allclose(mesh.uv, expected[[[0, 1, 2], [0, 2, 3]]], atol=1e-6)
    assert mesh.wraps == ((("clamp",) if clamp else ("repeat",)) * 2,)


def test_one_picture_of_several_materials_is_read_once(tmp_path):
    material = "newmtl a\nmap_Kd t.png\nnewmtl b\nmap_Kd t.png\nnewmtl c\nmap_Kd -clamp on t.png\n"
    text = f"mtllib m.mtl\n{SQUARE}" + "".join(f"usemtl {name}\n{FACE}" for name in "abca")
    mesh = read_mesh(write(tmp_path, {"a.obj": text, "m.mtl": material, "t.png": PICTURE}))
    assert mesh.texture_ids.tolist() == [0, 0, 0, 0, 1, 1, 0, 0] and mesh.textures[0] is mesh.textures[1]


def test_kinds_of_indices(tmp_path):
    low = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
    high = low.replace(" 0\n", " 2\n")
    commented = low.replace(" 0\n", " 2 # high\n")
    texts = {
        "negative, of two objects": f"o a\n{low}f -4 -3 -2 -1\no b\n{high}f -4 -3 -2 -1\n",
        "positive": f"{low}{high}f 1 2 3 4\nf 5 6 7 8\n",
        "normals": f"{low}{high}vn 0 0 1\nf 1//1 2//1 3//1 4//1\nf 5//1 6//1 7//1 8//1\n",
        "comments, continuation, tabs": f"{low}{commented}f\t1 2 \\\n3 4 # low\n  f 5 6 7 8\n",
    }
    expected = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    corners = np.array([[x, y, z] for z in (0, 2) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))])[expected]
    for index, (name, text) in enumerate(texts.items()):
        mesh = read_mesh(write(tmp_path, {f"{index}.obj": text.replace("\n", "\r\n" if index == 1 else "\n")}), up="z")
        np.testing.assert_allclose(mesh.vertices[mesh.faces] * 2 + [0.5, 0.5, 1], corners, err_msg=name)


def test_polygons_of_many_kinds_in_one_file(tmp_path):
    angles = np.arange(7) / 7 * 2 * np.pi
    points = "".join(f"v {np.cos(a):.6f} {np.sin(a):.6f} 0\n" for a in angles)
    text = f"{points}vt 0 0\nvt 1 0\nvt 0 1\nf 1 2 3 4 5 6 7\nf 1/1 2/2 3/3\nf 1//1 2//1\nf 1 2/2 4\nvn 0 0 1\n"
    mesh = read_mesh(write(tmp_path, {"a.obj": text}), up="z")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5], [0, 5, 6], [0, 1, 2], [0, 1, 3]]
    assert mesh.uv[5].tolist() == [[0, 0], [1, 0], [0, 1]] and not mesh.uv[0].any()


def test_colors_of_obj_vertices(tmp_path):
    text = "v 0 0 0 .1 .2 .3\nv 1 0 0 .4 .5 .6\nv 0 1 0 1 0 .5\nf 1 2 3\n"
    mesh = read_mesh(write(tmp_path, {"a.obj": text}))
    np.testing.assert_allclose(mesh.corner_colors[0], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [1, 0, 0.5]], atol=1e-7)
    # A material's own color says less than those of vertices; a texture says more.
    files = {"b.obj": "mtllib m.mtl\nusemtl a\n" + text, "m.mtl": "newmtl a\nKd 1 1 1\n"}
    assert np.array_equal(read_mesh(write(tmp_path, files)).corner_colors, mesh.corner_colors)
    wide = "v 0 0 0 255 51 0\nv 1 0 0 0 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n"
    with pytest.warns(MediaWarning, match="reach to 255; they are taken for numbers from 0 to 255"):
        mesh = read_mesh(write(tmp_path, {"c.obj": wide}))
    np.testing.assert_allclose(mesh.corner_colors[0, 0], [1, 0.2, 0], atol=1e-7)


@pytest.mark.parametrize("text", ["f 1 2 9\n", "f 0 1 2\n", "f -9 1 2\n", "f 1.5 2 3\n", "f a b c\n", "f / / /\n"])
def test_indices_that_cannot_be(text, tmp_path):
    with pytest.raises(ValueError, match=r"^mesh: a\.obj"):
        read_mesh(write(tmp_path, {"a.obj": SQUARE + text}))


def test_a_wrong_index_is_named_as_the_file_has_it(tmp_path):
    for text, wrong in (("f 0 1 2\n", 0), ("f 1 2 9\n", 9), ("f -9 1 2\n", -9)):
        with pytest.raises(ValueError, match=rf"indices of the \d vertices, counted from 1, got {wrong}\."):
            read_mesh(write(tmp_path, {"a.obj": SQUARE + text}))


# PLY

CORNERS = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]])
ENDS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": None}
TYPES = {"uchar": "u1", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8", "uint8": "u1"}


def ply(form: str, elements: list[tuple[str, list[str], list[list]]], comments: str = "", newline: str = "\n") -> bytes:
    """A PLY file: elements are names, properties as in the header, and rows of numbers and lists."""
    header = f"ply\nformat {form} 1.0\n{comments}"
    body = b""
    for name, properties, rows in elements:
        header += f"element {name} {len(rows)}\n" + "".join(f"property {each}\n" for each in properties)
        for row in rows:
            words = []
            for each, value in zip(properties, row, strict=True):
                kinds = each.split()[:-1]
                numbers = (
                    [(kinds[1], len(value)), *((kinds[2], v) for v in value)]
                    if kinds[0] == "list"
                    else [(kinds[0], value)]
                )
                words += [str(number) for _, number in numbers]
                if ENDS[form]:
                    body += b"".join(np.array(n, ENDS[form] + TYPES[kind]).tobytes() for kind, n in numbers)
            if not ENDS[form]:
                body += (" ".join(words) + newline).encode()
    return (header + "end_header\n").replace("\n", newline).encode() + body


XYZ = ["float x", "float y", "float z"]
INDICES = "list uchar int vertex_indices"


@pytest.mark.parametrize("form", ENDS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["vertex_indices", "vertex_index"])
def test_triangles_quads_and_other_polygons_in_one_file(form, newline, name, tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3)).astype("f4").astype(float)
    polygons = [rng.integers(0, 60, length).tolist() for length in rng.choice([3, 4, 4, 5, 7], 80)]
    colors = rng.integers(0, 256, (60, 3))
    vertices = [[*point, *color] for point, color in zip(points.tolist(), colors.tolist(), strict=True)]
    elements = [
        ("camera", ["float view"], [[1.5], [2.5]]),
        ("vertex", [*XYZ, "uchar red", "uchar green", "uchar blue"], vertices),
        ("face", ["uchar flags", f"list uchar int {name}", "float quality"], [[7, each, 0.5] for each in polygons]),
        ("edge", ["int vertex1", "int vertex2"], [[0, 1]]),
    ]
    mesh = read_mesh(write(tmp_path, {"a.ply": ply(form, elements, newline=newline)}))
    faces = [[each[0], each[k], each[k + 1]] for each in polygons for k in range(1, len(each) - 1)]
    assert mesh.faces.tolist() == faces
    used = points[np.unique(faces)]
    middle, longest = (used.max(axis=0) + used.min(axis=0)) / 2, np.ptp(used, axis=0).max()
    np.testing.assert_allclose(mesh.vertices, (points - middle) / longest, atol=1e-6)
    np.testing.assert_allclose(mesh.corner_colors, (colors / 255)[faces], atol=1e-7)


def test_mixed_polygons_agree_with_plyfile(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    rng = np.random.default_rng(1)
    polygons = np.empty(200, dtype=object)
    polygons[:] = [rng.integers(0, 30, length).astype("i4") for length in rng.integers(3, 6, 200)]
    vertices = np.array([tuple(row) for row in rng.normal(size=(30, 3))], dtype=[(axis, "f4") for axis in "xyz"])
    faces = np.empty(200, dtype=[("vertex_indices", object)])
    faces["vertex_indices"] = polygons
    elements = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    for order in "<>":
        plyfile.PlyData(elements, byte_order=order).write(str(tmp_path / "a.ply"))
        expected = [[each[0], each[k], each[k + 1]] for each in polygons for k in range(1, len(each) - 1)]
        assert np.array_equal(read_mesh(tmp_path / "a.ply").faces, expected)


@pytest.mark.parametrize("form", ENDS)
@pytest.mark.parametrize("kind, white", [("uchar", 255), ("ushort", 65535), ("float", 1), ("double", 1), ("int", 255)])
@pytest.mark.parametrize("names", [("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue")])
@pytest.mark.parametrize("of_faces", [False, True])
def test_types_of_colors(form, kind, white, names, of_faces, tmp_path):
    color = [0.2, 0.6, 1.0] if white == 1 else [white // 5, white * 3 // 5, white]
    properties = [f"{kind} {name}" for name in names]
    vertices = [[*corner, *([] if of_faces else color)] for corner in CORNERS.tolist()]
    elements = [
        ("vertex", XYZ + ([] if of_faces else properties), vertices),
        ("face", [INDICES, *(properties if of_faces else [])], [[[0, 1, 2, 3], *(color if of_faces else [])]]),
    ]
    mesh = read_mesh(write(tmp_path, {"a.ply": ply(form, elements)}))
    np.testing.assert_allclose(mesh.corner_colors, np.broadcast_to([0.2, 0.6, 1], (2, 3, 3)), atol=1e-6)


@pytest.mark.parametrize("form", ENDS)
def test_each_face_shows_its_own_texture(form, tmp_path):
    gray = png(np.full((4, 4, 3), 188, np.uint8))
    corners = [[0, 0, 1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 1], [0, 0, 1, 1, 0, 1], []]
    faces = [[[0, 1, 2, 3], corners[0], 2], [[0, 1, 2], corners[1], 0], [[0, 2, 3], corners[2], 1], [[0, 1, 2], [], 0]]
    elements = [
        ("vertex", XYZ, CORNERS.tolist()),
        ("face", [INDICES, "list uchar float texcoord", "int texnumber"], faces),
    ]
    names = "comment made by hand\ncomment TextureFile t.png\ncomment TextureFile sub\\my gray.png\n"
    names += "comment texturefile gone.png\n"
    files = {"a.ply": ply(form, elements, names), "t.png": PICTURE, "sub/my gray.png": gray}
    with pytest.warns(MediaWarning, match=r"a\.ply: the texture gone\.png was not found"):
        mesh = read_mesh(write(tmp_path, files))
    assert mesh.texture_ids.tolist() == [-1, -1, 0, 1, -1]
    np.testing.assert_allclose(mesh.textures[1], 188 / 255, atol=1e-7)
    assert mesh.uv[2].tolist() == [[0, 0], [1, 0], [1, 1]] and mesh.uv[3].tolist() == [[0, 0], [1, 1], [0, 1]]
    files["a.ply"] = ply(form, [elements[0], ("face", elements[1][1], faces[1:3])], names)
    found = quadrants(read_mesh(write(tmp_path, files)))
    assert found["BR"] == QUADRANTS["BR"] and found["TL"] == (188, 188, 188)


@pytest.mark.parametrize("names", [("s", "t"), ("u", "v"), ("texture_u", "texture_v")])
def test_texture_coordinates_of_vertices(names, tmp_path):
    coordinates = [[0, 0], [1, 0], [1, 1], [0, 1]]
    colors = ["uchar red", "uchar green", "uchar blue"]
    vertices = [[*corner, *uv, 9, 9, 9] for corner, uv in zip(CORNERS.tolist(), coordinates, strict=True)]
    elements = [
        ("vertex", [*XYZ, *(f"float {name}" for name in names), *colors], vertices),
        ("face", [INDICES], [[[0, 1, 2]], [[0, 2, 3]]]),
    ]
    data = ply("binary_little_endian", elements, "comment TextureFile t.png\n")
    assert quadrants(read_mesh(write(tmp_path, {"a.ply": data, "t.png": PICTURE}))) == QUADRANTS
    # Without the picture the colors of vertices are left.
    (tmp_path / "t.png").unlink()
    with pytest.warns(MediaWarning, match=r"the texture t\.png was not found"):
        assert set(quadrants(read_mesh(tmp_path / "a.ply")).values()) == {(9, 9, 9)}


def test_strips(tmp_path):
    strips = [[[0, 1, 3, 2, -1, 0, 1, 2]]]
    elements = [("vertex", XYZ, CORNERS.tolist()), ("tristrips", ["list int int vertex_indices"], strips)]
    mesh = read_mesh(write(tmp_path, {"a.ply": ply("binary_big_endian", elements)}))
    assert mesh.faces.tolist() == [[0, 1, 3], [3, 1, 2], [0, 1, 2]]


def header(form: str, vertices: object, rest: str) -> str:
    properties = "property float x\nproperty float y\nproperty float z\n"
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    return f"ply\nformat {form} 1.0\nelement vertex {vertices}\n{properties}{faces}end_header\n{rest}"


BROKEN = {
    "huge counts": header("binary_little_endian", 10**12, ""),
    "huge text counts": header("ascii", 10**12, "0 0 0\n"),
    "unknown type": header("ascii", 1, "0 0 0\n3 0 0 0\n").replace("uchar int", "uchar long"),
    "unknown format": header("binary", 1, ""),
    "no count": header("ascii", "", ""),
    "words among numbers": header("ascii", 1, "0 x 0\n3 0 0 0\n"),
    "no header's end": "ply\nformat ascii 1.0\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_ply_files(case, tmp_path):
    with pytest.raises(ValueError, match=r"^mesh: a\.ply cannot be read"):
        read_mesh(write(tmp_path, {"a.ply": BROKEN[case]}))


@pytest.mark.parametrize("form", ENDS)
def test_damaged_ply_and_obj_files_are_errors_or_meshes(form, tmp_path):
    rng = np.random.default_rng(0)
    faces = [[[0, 1, 2]], [[0, 2, 3, 1]], [[1, 2, 3]]]
    elements = [("vertex", [*XYZ, "uchar red", "uchar green", "uchar blue"], [[*c, 1, 2, 3] for c in CORNERS.tolist()])]
    seeds = {"a.ply": ply(form, [*elements, ("face", [INDICES], faces)]), "a.obj": (SQUARE + FACE).encode()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MediaWarning)
        for name, data in seeds.items():
            for index in range(150):
                broken = bytearray(data[: int(rng.integers(1, len(data)))] if index % 3 == 0 else data)
                for place in rng.integers(0, len(broken), index % 3):
                    broken[place] ^= 1 << int(rng.integers(8))
                path = write(tmp_path, {name: bytes(broken)})
                try:
                    read_mesh(path)
                except ValueError as error:
                    assert re.search(rf"{name}", str(error))


def test_polygons_and_strips_to_triangles():
    corners, polygons = polygon_triangles(np.array([3, 2, 5, 0, 4]))
    assert corners.tolist() == [[0, 1, 2], [5, 6, 7], [5, 7, 8], [5, 8, 9], [10, 11, 12], [10, 12, 13]]
    assert polygons.tolist() == [0, 2, 2, 2, 4, 4]
    strips = strip_triangles(np.array([5, 6, 7, 8, -1, 1, 2, 3, -1, 4]))
    assert strips.tolist() == [[5, 6, 7], [7, 6, 8], [1, 2, 3]]
    assert strip_triangles(np.array([1, 2])).shape == (0, 3)
