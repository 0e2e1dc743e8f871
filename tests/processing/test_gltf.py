"""glTF files: colors, textures and shapes, against formulas in float64 and pictures of known quarters."""

import base64
import builtins
import json
import re
import struct
import warnings
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.mesh_reading_atoken import read_mesh

from .glb_builder import (
    GREEN,
    QUADRANTS,
    RED,
    SQUARE,
    SQUARE_FACES,
    SQUARE_UV,
    Builder,
    decoded,
    encoded,
    look,
    png,
    quadrant_picture,
    quadrants,
)

pytest.importorskip("embreex")

STORED = {"TL": (200, 30, 90), "TR": (10, 250, 128), "BL": (77, 99, 3), "BR": (255, 0, 188)}


def near(found: dict, expected: dict, tolerance: float = 1) -> bool:
    return all(np.abs(np.subtract(found[name], expected[name])).max() <= tolerance for name in expected)


def textured_square(picture: bytes, **info) -> Builder:
    builder = Builder()
    material = builder.textured(builder.texture(picture), **info)
    builder.show({"mesh": builder.square(material, TEXCOORD_0=builder.accessor(SQUARE_UV))})
    return builder


def quarters(colors: dict) -> np.ndarray:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    for name, color in colors.items():
        rows, columns = slice(0, 8), slice(0, 8)
        rows = rows if name[0] == "T" else slice(8, 16)
        columns = columns if name[1] == "L" else slice(8, 16)
        pixels[rows, columns] = color
    return pixels


COLORS = np.array([0.2, 0.55, 0.9, 1.0])
COLOR_KINDS = {
    "none": None,
    "u1 VEC4": (np.tile(COLORS * 255, (4, 1)).round().astype("u1"), 255),
    "u1 VEC3": (np.tile(COLORS[:3] * 255, (4, 1)).round().astype("u1"), 255),
    "u2 VEC4": (np.tile(COLORS * 65535, (4, 1)).round().astype("u2"), 65535),
    "u2 VEC3": (np.tile(COLORS[:3] * 65535, (4, 1)).round().astype("u2"), 65535),
    "f4 VEC4": (np.tile(COLORS, (4, 1)).astype("f4"), 1),
    "f4 VEC3": (np.tile(COLORS[:3], (4, 1)).astype("f4"), 1),
}


@pytest.mark.parametrize("kind", COLOR_KINDS)
@pytest.mark.parametrize("factor", [None, [0.5, 0.05, 0.8, 1.0]])
@pytest.mark.parametrize("with_texture", [False, True])
def test_color_is_the_product_in_linear_light(kind, factor, with_texture, tmp_path):
    # The older kind of material has other names for the same.
    gloss = kind == "f4 VEC3"
    builder = Builder()
    names = ("diffuseFactor", "diffuseTexture") if gloss else ("baseColorFactor", "baseColorTexture")
    base = {} if factor is None else {names[0]: factor}
    if with_texture:
        base[names[1]] = {"index": builder.texture(png(quarters(STORED)))}
    gloss_extension = {"extensions": {"KHR_materials_pbrSpecularGlossiness": base}}
    material = builder.add("materials", gloss_extension if gloss else {"pbrMetallicRoughness": base})
    attributes = {"TEXCOORD_0": builder.accessor(SQUARE_UV)}
    expected = {name: decoded(color) if with_texture else np.ones(3) for name, color in STORED.items()}
    if factor is not None:
        expected = {name: light * factor[:3] for name, light in expected.items()}
    if COLOR_KINDS[kind] is not None:
        values, white = COLOR_KINDS[kind]
        # Rows of bytes are padded to four; exporters that forget `normalized` mean it.
        more = {"normalized": True} if white > 1 and "VEC4" in kind else {}
        padded = np.zeros((4, 4), values.dtype)
        padded[:, : values.shape[1]] = values
        view = builder.view(padded.tobytes(), byteStride=4 * values.itemsize)
        attributes["COLOR_0"] = builder.accessor(values, **more)
        builder.document["accessors"][-1]["bufferView"] = view
        expected = {name: light * (values[0, :3] / white) for name, light in expected.items()}
    builder.show({"mesh": builder.square(material, **attributes)})
    found = quadrants(read_mesh(builder.save(tmp_path)))
    assert near(found, {name: encoded(light) for name, light in expected.items()})


def test_what_has_no_color_is_gray_and_a_material_is_white(tmp_path):
    for material, gray in ((None, 153), ({}, 255), ({"pbrMetallicRoughness": {"metallicFactor": 0}}, 255)):
        builder = Builder()
        index = None if material is None else builder.add("materials", material)
        builder.show({"mesh": builder.square(index)})
        assert set(quadrants(read_mesh(builder.save(tmp_path))).values()) == {(gray,) * 3}


def test_colors_of_vertices_blend_in_linear_light(tmp_path):
    builder = Builder()
    sides = builder.accessor(np.array([[0, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0]], dtype="f4"))
    builder.show({"mesh": builder.square(COLOR_0=sides)})
    row = look(read_mesh(builder.save(tmp_path)), 200)[100, :, 0]
    # The square of side 1, 2.2 away, under an angle of view of 40 degrees.
    x = ((np.arange(200) + 0.5) / 200 - 0.5) * 2 * np.tan(np.radians(20)) * 2.2
    inside = np.abs(x) < 0.49
    np.testing.assert_allclose(row[inside], encoded(x[inside] + 0.5), atol=0.5)


def test_emission_of_a_black_material_is_named(tmp_path):
    builder = Builder()
    black = {"name": "lamp", "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}, "emissiveFactor": [1, 1, 1]}
    builder.show({"mesh": builder.square(builder.add("materials", black))})
    with pytest.warns(MediaWarning, match=r"scene\.glb: lamp is black but for the light"):
        read_mesh(builder.save(tmp_path))


PICTURES = {
    "rgb": (png(quadrant_picture()), QUADRANTS),
    "jpeg": (png(quadrant_picture(64), "JPEG", quality=100, subsampling=0), QUADRANTS),
    "webp": (png(quadrant_picture(), "WEBP", lossless=True), QUADRANTS),
    "gray of 16 bits": (png(np.full((4, 4), 117 * 257, np.uint16)), dict.fromkeys(QUADRANTS, (117,) * 3)),
    "gray of 1 bit": (png(np.full((4, 4), True)), dict.fromkeys(QUADRANTS, (255,) * 3)),
    "transparent": (png(np.dstack([quadrant_picture(), np.zeros((8, 8), np.uint8)])), QUADRANTS),
    "gray and alpha": (png(np.full((4, 4, 2), (90, 5), np.uint8)), dict.fromkeys(QUADRANTS, (90,) * 3)),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_textures_are_shown_as_they_are_stored(kind, tmp_path):
    picture, expected = PICTURES[kind]
    assert near(quadrants(read_mesh(textured_square(picture).save(tmp_path))), expected, 3 if kind == "jpeg" else 0)


def test_transparent_palette(tmp_path):
    from PIL import Image

    palette = Image.fromarray(quadrant_picture()).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=0)
    builder = textured_square((tmp_path / "palette.png").read_bytes())
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS


@pytest.mark.parametrize("name", ["EXT_texture_webp", "EXT_texture_avif"])
def test_textures_of_extensions(name, tmp_path):
    form = name.rsplit("_", 1)[1].upper()
    builder = Builder()
    try:
        image = png(quadrant_picture(64), form, quality=100)
    except KeyError:
        pytest.skip(f"this Pillow does not write {form}")
    source = builder.add("images", {"bufferView": builder.view(image)})
    material = builder.textured(builder.add("textures", {"extensions": {name: {"source": source}}}))
    builder.show({"mesh": builder.square(material, TEXCOORD_0=builder.accessor(SQUARE_UV))})
    builder.require(name)
    assert near(quadrants(read_mesh(builder.save(tmp_path))), QUADRANTS, 8)


def test_a_texture_that_can_be_read_stands_in_for_one_that_cannot(tmp_path):
    builder = Builder()
    ktx = builder.add("images", {"bufferView": builder.view(b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80))})
    extension = {"KHR_texture_basisu": {"source": ktx}}
    with_fallback = builder.textured(builder.texture(png(quadrant_picture()), extensions=extension))
    without = builder.textured(builder.add("textures", {"extensions": extension}))
    coordinates = builder.accessor(SQUARE_UV)
    builder.document["extensionsUsed"] = ["KHR_texture_basisu"]
    builder.show({"mesh": builder.square(with_fallback, TEXCOORD_0=coordinates)})
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS
    builder.document["nodes"] = [{"mesh": builder.square(without, TEXCOORD_0=coordinates)}]
    with pytest.warns(MediaWarning, match="scene.glb: a texture is left out.*KHR_texture_basisu"):
        read_mesh(builder.save(tmp_path))


@pytest.mark.parametrize("kind", ["f4", "u1", "u2"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_texture_coordinates_of_any_set_and_type(kind, number, tmp_path):
    builder = Builder()
    values, more = SQUARE_UV, {}
    if kind != "f4":
        values, more = (SQUARE_UV * np.iinfo(kind).max).astype(kind), {"normalized": True}
    if kind == "u1":
        values = np.pad(values, ((0, 0), (0, 2)))
    accessor = builder.accessor(values, **more)
    builder.document["accessors"][accessor]["type"] = "VEC2"
    if kind == "u1":
        builder.document["bufferViews"][-1]["byteStride"] = 4
    others = {f"TEXCOORD_{index}": builder.accessor(np.zeros((4, 2), "f4")) for index in range(number)}
    material = builder.textured(builder.texture(png(quadrant_picture())), texCoord=number)
    builder.show({"mesh": builder.square(material, **others, **{f"TEXCOORD_{number}": accessor})})
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS


@pytest.mark.parametrize(
    "transform",
    [
        {"offset": [0.5, 0.25]},
        {"scale": [2, -0.5]},
        {"rotation": 0.7},
        {"offset": [0.1, -0.2], "rotation": -1.2, "scale": [0.3, 3]},
    ],
)
def test_texture_transform(transform, tmp_path):
    builder = textured_square(png(quadrant_picture()), extensions={"KHR_texture_transform": transform})
    mesh = read_mesh(builder.save(tmp_path))
    angle = transform.get("rotation", 0)
    u, v = (SQUARE_UV.astype(float) * transform.get("scale", [1, 1])).T
    # Counter-clockwise in an image whose v runs downwards, as in the extension's text.
    u, v = u * np.cos(angle) + v * np.sin(angle), -u * np.sin(angle) + v * np.cos(angle)
    expected = np.stack([u, v], axis=1) + transform.get("offset", [0, 0])
    expected[:, 1] = 1 - expected[:, 1]
    np.testing.assert_allclose(mesh.uv, expected[SQUARE_FACES.reshape(-1, 3)], atol=1e-6)


def test_a_texture_transform_may_choose_other_coordinates(tmp_path):
    builder = Builder()
    material = builder.textured(
        builder.texture(png(quadrant_picture())), extensions={"KHR_texture_transform": {"texCoord": 1}}
    )
    attributes = {"TEXCOORD_0": builder.accessor(np.zeros((4, 2), "f4")), "TEXCOORD_1": builder.accessor(SQUARE_UV)}
    builder.show({"mesh": builder.square(material, **attributes)})
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS


WAYS = {10497: lambda x: x % 1, 33648: lambda x: 1 - abs(x % 2 - 1), 33071: lambda x: min(max(x, 0), 1)}


@pytest.mark.parametrize("s", WAYS)
@pytest.mark.parametrize("t", WAYS)
@pytest.mark.parametrize("shift", [(0.25, 0.1), (1.25, 0.75), (-0.9, -1.6), (2.3, -0.4)])
def test_wrapping(s, t, shift, tmp_path):
    builder = Builder()
    sampler = builder.add("samplers", {"wrapS": s, "wrapT": t})
    material = builder.textured(builder.texture(png(quadrant_picture(64)), sampler=sampler))
    # All of the square lies on one point of the texture.
    coordinates = builder.accessor(np.tile(np.array(shift, dtype="f4"), (4, 1)))
    builder.show({"mesh": builder.square(material, TEXCOORD_0=coordinates)})
    u, v = WAYS[s](shift[0]), WAYS[t](shift[1])
    expected = QUADRANTS[("T" if v < 0.5 else "B") + ("L" if u < 0.5 else "R")]
    assert set(quadrants(read_mesh(builder.save(tmp_path))).values()) == {expected}


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2"])
@pytest.mark.parametrize("is_normalized", [False, True])
def test_quantized_positions_in_several_parts(kind, is_normalized, tmp_path):
    builder = Builder()
    largest = np.iinfo(kind).max
    whole = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]]) * largest
    accessor = builder.accessor(whole.astype(kind), normalized=is_normalized)
    builder.document["accessors"][accessor]["type"] = "VEC3"
    builder.document["bufferViews"][-1]["byteStride"] = 4 * np.dtype(kind).itemsize
    red, green = (
        builder.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": c}}) for c in ([1, 0, 0, 1], [0, 1, 0, 1])
    )
    scale = 1 if is_normalized else 1 / largest
    # The quantized square reaches from -1 to 0, the one of floats from 0 to 1.
    nodes = [
        {"mesh": builder.square(red, positions=accessor), "translation": [-1, -0.5, 0], "scale": [scale, scale, 1]},
        {"mesh": builder.square(green), "translation": [0.5, 0, 0]},
    ]
    builder.show(*nodes)
    builder.require("KHR_mesh_quantization")
    mesh = read_mesh(builder.save(tmp_path))
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 0, 0.5], atol=1e-6)
    picture = look(mesh)
    assert picture[32, 24].tolist() == list(RED) and picture[32, 40].tolist() == list(GREEN)


def test_interleaved_and_sparse_accessors(tmp_path):
    builder = Builder()
    rows = np.concatenate([SQUARE, SQUARE_UV], axis=1).astype("<f4")
    view = builder.view(b"head" + rows.tobytes(), byteStride=20)
    shared = {"bufferView": view, "componentType": 5126, "count": 4}
    positions = builder.add("accessors", {**shared, "byteOffset": 4, "type": "VEC3"})
    coordinates = builder.add("accessors", {**shared, "byteOffset": 16, "type": "VEC2"})
    material = builder.textured(builder.texture(png(quadrant_picture())))
    builder.show({"mesh": builder.square(material, positions=positions, TEXCOORD_0=coordinates)})
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS
    # Two corners stand in the accessor, two are put in their places one by one; then all of them.
    for base, places in ((SQUARE * [[1], [1], [9], [9]], [2, 3]), (None, [0, 1, 2, 3])):
        sparse = {
            "count": len(places),
            "indices": {"bufferView": builder.view(np.array(places, "u1").tobytes()), "componentType": 5121},
            "values": {"bufferView": builder.view(SQUARE[places].tobytes())},
        }
        if base is None:
            entry = {"componentType": 5126, "count": 4, "type": "VEC3", "sparse": sparse}
            accessor = builder.add("accessors", entry)
        else:
            accessor = builder.accessor(base.astype("f4"), sparse=sparse)
        builder.document["nodes"] = [{"mesh": builder.square(material, positions=accessor, TEXCOORD_0=coordinates)}]
        assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS


@pytest.mark.parametrize("mode, indices", [(4, [0, 1, 2, 0, 2, 3]), (5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])])
@pytest.mark.parametrize("indexed", [True, False])
def test_triangles_strips_and_fans(mode, indices, indexed, tmp_path):
    builder = Builder()
    order = np.array(indices, dtype="u4")
    positions, coordinates = (SQUARE, SQUARE_UV) if indexed else (SQUARE[order], SQUARE_UV[order])
    attributes = {"POSITION": builder.accessor(positions), "TEXCOORD_0": builder.accessor(coordinates)}
    primitive = {"attributes": attributes, "mode": mode}
    primitive["material"] = builder.textured(builder.texture(png(quadrant_picture())))
    if indexed:
        primitive["indices"] = builder.accessor(order)
    builder.show({"mesh": builder.add("meshes", {"primitives": [primitive]})})
    mesh = read_mesh(builder.save(tmp_path))
    assert len(mesh.faces) == 2 and quadrants(mesh) == QUADRANTS
    normals = np.cross(*(mesh.vertices[mesh.faces[:, i]] - mesh.vertices[mesh.faces[:, 0]] for i in (1, 2)))
    assert (normals[:, 1] < 0).all()  # counter-clockwise as seen from the front


def test_points_and_lines(tmp_path):
    builder = Builder()
    positions = builder.accessor(SQUARE)
    lines = {"attributes": {"POSITION": positions}, "mode": 3}
    builder.show({"mesh": builder.add("meshes", {"primitives": [lines]})})
    with pytest.raises(ValueError, match=r"^mesh must be a surface.*scene.glb, which has no faces"):
        read_mesh(builder.save(tmp_path))
    faces = {"attributes": {"POSITION": positions}, "indices": builder.accessor(SQUARE_FACES)}
    builder.document["meshes"][0]["primitives"].append(faces)
    with pytest.warns(MediaWarning, match="points and lines are left out"):
        assert len(read_mesh(builder.save(tmp_path)).faces) == 2


def turned(axis: int, angle: float) -> np.ndarray:
    matrix = np.eye(4)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def moved(*by: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix


def quaternion(axis: int, angle: float) -> list[float]:
    values = [0.0] * 4
    values[axis], values[3] = np.sin(angle / 2), np.cos(angle / 2)
    return values


def shape(points: np.ndarray) -> np.ndarray:
    """Positions as `read_mesh` gives those of the file: y to z, centered, longest side 1."""
    points = points[:, [0, 2, 1]] * [1, -1, 1]
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low).max()


def carried(matrix: np.ndarray, points: np.ndarray = SQUARE) -> np.ndarray:
    return points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def test_nodes_stand_where_their_parents_put_them(tmp_path):
    builder = Builder()
    square = builder.square()
    below = moved(1, 2, 3) @ turned(0, 0.4) @ np.diag([1, -2, 0.5, 1])
    child = {"mesh": square, "matrix": below.T.ravel().tolist()}
    parent = {"children": [0], "translation": [3, 0, 1], "rotation": quaternion(2, 1.1), "scale": [-1, 1, 2]}
    builder.document["nodes"] = [child, parent, {"mesh": square}, {"mesh": square}]
    # The scene that is shown is the second; the others' nodes do not appear.
    builder.document.update(scene=1, scenes=[{"nodes": [3]}, {"nodes": [1, 2]}])
    upper = moved(3, 0, 1) @ turned(2, 1.1) @ np.diag([-1, 1, 2, 1])
    expected = shape(np.concatenate([carried(upper @ below), carried(np.eye(4))]))
    found = read_mesh(builder.save(tmp_path))
    np.testing.assert_allclose(found.vertices, expected, atol=1e-6)
    builder.document["nodes"][1]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    assert len(read_mesh(builder.save(tmp_path)).faces) == 2


@pytest.mark.parametrize("kind", ["f4", "i1", "i2"])
def test_instances(kind, tmp_path):
    builder = Builder()
    angles = [0.0, np.pi / 2, np.pi]
    moves, scales = (
        np.array([[0, 0, 0], [2, 0, 0], [0, 3, 1]], "f4"),
        np.array([[1, 1, 1], [2, 1, 1], [1, -1, 1]], "f4"),
    )
    turns = np.array([quaternion(1, angle) for angle in angles])
    stored = turns.astype("f4") if kind == "f4" else (turns * np.iinfo(kind).max).round().astype(kind)
    attributes = {
        "TRANSLATION": builder.accessor(moves),
        "ROTATION": builder.accessor(stored, normalized=kind != "f4"),
        "SCALE": builder.accessor(scales),
    }
    extensions = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    builder.show({"mesh": builder.square(), "translation": [1, 1, 1], "extensions": extensions})
    builder.require("EXT_mesh_gpu_instancing")
    matrices = [
        moved(1, 1, 1) @ moved(*move) @ turned(1, angle) @ np.diag([*scale, 1])
        for move, angle, scale in zip(moves, angles, scales, strict=True)
    ]
    expected = shape(np.concatenate([carried(matrix) for matrix in matrices]))
    np.testing.assert_allclose(
        read_mesh(builder.save(tmp_path)).vertices, expected, atol=0.02 if kind == "i1" else 1e-4
    )


@pytest.mark.parametrize("kind", ["f4", "u1", "u2"])
def test_skins_at_rest(kind, tmp_path):
    builder = Builder()
    joints = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], "u1")
    shares = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 1, 0, 0]])
    weights = shares.astype("f4") if kind == "f4" else (shares * np.iinfo(kind).max).round().astype(kind)
    inverse = np.stack([moved(0, 1, 0), turned(2, 0.3)])
    attributes = {
        "JOINTS_0": builder.accessor(joints),
        "WEIGHTS_0": builder.accessor(weights, normalized=kind != "f4"),
    }
    mesh = builder.square(**attributes)
    matrices = builder.accessor(inverse.transpose(0, 2, 1).reshape(2, 16).astype("f4"))
    builder.document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": matrices}]
    # The node of the mesh itself does not count, and joints stand below each other.
    skinned = {"mesh": mesh, "skin": 0, "translation": [50, 50, 50]}
    first = {"children": [2], "translation": [0, 2, 0]}
    second = {"rotation": quaternion(0, 0.8), "translation": [1, 0, 0]}
    builder.document["nodes"] = [skinned, first, second]
    builder.document.update(scene=0, scenes=[{"nodes": [0, 1]}])
    bones = [moved(0, 2, 0) @ inverse[0], moved(0, 2, 0) @ moved(1, 0, 0) @ turned(0, 0.8) @ inverse[1]]
    points = [
        sum(
            share * carried(bones[joint], SQUARE[i : i + 1])[0]
            for joint, share in zip(joints[i], shares[i], strict=True)
        )
        for i in range(4)
    ]
    found = read_mesh(builder.save(tmp_path)).vertices
    np.testing.assert_allclose(found, shape(np.array(points)), atol=0.01 if kind == "u1" else 1e-4)


@pytest.mark.parametrize("of_node", [True, False])
def test_morph_targets_with_default_weights(of_node, tmp_path):
    builder = Builder()
    changes = [np.array([[1, 0, 0]] * 4, "f4") * [[0], [1], [2], [0]], np.array([[0, 3, 1]] * 4, "f4")]
    mesh = builder.square()
    targets = [{"POSITION": builder.accessor(change.astype("f4"))} for change in changes]
    builder.document["meshes"][mesh]["primitives"][0]["targets"] = targets
    builder.document["meshes"][mesh]["weights"] = [0.5, 0.0]
    node, weights = {"mesh": mesh}, [0.5, 0.0]
    if of_node:
        weights = node["weights"] = [-0.25, 1.0]
    builder.show(node)
    expected = SQUARE + sum(weight * change for weight, change in zip(weights, changes, strict=True))
    np.testing.assert_allclose(read_mesh(builder.save(tmp_path)).vertices, shape(expected), atol=1e-6)


def write_gltf(folder: Path, texture: str, buffer: str, files: dict[str, bytes]) -> Path:
    builder = Builder()
    source = builder.add("images", {"uri": texture})
    material = builder.textured(builder.add("textures", {"source": source}))
    builder.show({"mesh": builder.square(material, TEXCOORD_0=builder.accessor(SQUARE_UV))})
    uri = buffer or "data:application/octet-stream;base64," + base64.b64encode(builder.blob).decode()
    builder.document["buffers"] = [{"byteLength": len(builder.blob), "uri": uri}]
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data or builder.blob)
    path = folder / "scene.gltf"
    path.write_text(json.dumps(builder.document), encoding="utf-8")
    return path


PICTURE = png(quadrant_picture())
NAMES = {
    "plain": ("t.png", "b.bin", {"t.png": PICTURE, "b.bin": b""}),
    "percent": ("my%20tex.png", "my%20data.bin", {"my tex.png": PICTURE, "my data.bin": b""}),
    "literal percent": ("100%25.png", "a%20b.bin", {"100%.png": PICTURE, "a%20b.bin": b""}),
    "not escaped": ("my tex.png", "", {"my tex.png": PICTURE}),
    "accents": (quote("färbe.png"), "größe.bin", {"färbe.png": PICTURE, "größe.bin": b""}),
    "folders": ("../maps/t.png", "./data/b.bin", {"../maps/t.png": PICTURE, "data/b.bin": b""}),
    "backslash": ("maps\\t.png", "", {"maps/t.png": PICTURE}),
    "other case": ("Maps/T.PNG", "", {"maps/t.png": PICTURE}),
    "data": ("data:image/png;base64," + base64.b64encode(PICTURE).decode(), "", {}),
    "percent data": ("data:image/png," + quote(PICTURE), "", {}),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_files(kind, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error", MediaWarning)
        assert quadrants(read_mesh(write_gltf(folder, *NAMES[kind]))) == QUADRANTS


@pytest.mark.parametrize("data", [None, b"no picture", PICTURE[:50]], ids=["gone", "text", "cut off"])
def test_a_lost_texture_is_named(data, tmp_path):
    path = write_gltf(tmp_path, "gone%20away.png", "", {} if data is None else {"gone away.png": data})
    with pytest.warns(MediaWarning, match=r"scene\.gltf: a texture is left out.*gone( |%20)away\.png"):
        mesh = read_mesh(path)
    assert set(quadrants(mesh).values()) == {(153,) * 3}


def test_a_lost_buffer_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"^mesh: scene\.gltf cannot be read .*my data\.bin does not exist"):
        read_mesh(write_gltf(tmp_path, "t.png", "my%20data.bin", {"t.png": PICTURE}))


def draco_square() -> Builder:
    draco = pytest.importorskip("DracoPy")
    faces = SQUARE_FACES.reshape(-1, 3).astype("u4")
    colors = np.tile(np.array([255, 255, 255, 255], "u1"), (4, 1))
    data = draco.encode(
        SQUARE, faces, quantization_bits=16, preserve_order=True, colors=colors, tex_coord=SQUARE_UV.astype(np.float64)
    )
    unpacked = draco.decode(data)
    ids = {each["attribute_type"]: each["unique_id"] for each in unpacked.attributes}
    builder = Builder()
    material = builder.textured(builder.texture(PICTURE))
    names = {"POSITION": ids[0], "COLOR_0": ids[2], "TEXCOORD_0": ids[3]}
    forms = {"POSITION": ("VEC3", 5126), "COLOR_0": ("VEC4", 5121), "TEXCOORD_0": ("VEC2", 5126)}
    accessors = {
        name: builder.add("accessors", {"componentType": kind, "count": 4, "type": form, "normalized": kind == 5121})
        for name, (form, kind) in forms.items()
    }
    extension = {"bufferView": builder.view(data), "attributes": names}
    primitive = {"attributes": accessors, "material": material, "extensions": {"KHR_draco_mesh_compression": extension}}
    primitive["indices"] = builder.add("accessors", {"componentType": 5125, "count": 6, "type": "SCALAR"})
    builder.show({"mesh": builder.add("meshes", {"primitives": [primitive]})})
    builder.require("KHR_draco_mesh_compression")
    return builder


def test_draco(tmp_path):
    mesh = read_mesh(draco_square().save(tmp_path))
    assert len(mesh.faces) == 2 and quadrants(mesh) == QUADRANTS


def test_draco_without_its_library(tmp_path, monkeypatch):
    path = draco_square().save(tmp_path)
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "DracoPy":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'DracoPy: pip install "atoken\[3d\]"'):
        read_mesh(path)


REQUIRED = {
    "EXT_meshopt_compression": "requires the extension EXT_meshopt_compression.*gltfpack",
    "KHR_meshopt_compression": "requires the extension KHR_meshopt_compression.*gltfpack",
    "KHR_texture_basisu": "requires the extension KHR_texture_basisu.*KTX2",
    "VENDOR_new_geometry": "requires the extension VENDOR_new_geometry, which cannot be read",
}


@pytest.mark.parametrize("name", REQUIRED)
def test_required_extensions_that_cannot_be_read(name, tmp_path):
    builder = textured_square(PICTURE)
    builder.require(name)
    with pytest.raises(ValueError, match=f"^mesh: scene.glb: the file {REQUIRED[name]}"):
        read_mesh(builder.save(tmp_path))


def test_extensions_that_change_no_color(tmp_path):
    builder = textured_square(PICTURE)
    builder.require("KHR_materials_unlit", "KHR_lights_punctual", "KHR_materials_clearcoat", "KHR_xmp_json_ld")
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS


def test_meshopt_with_and_without_data_beside_it(tmp_path):
    builder = textured_square(PICTURE)
    for view in builder.document["bufferViews"]:
        view["extensions"] = {"EXT_meshopt_compression": {"buffer": 0, "byteLength": 4, "mode": "ATTRIBUTES"}}
    assert quadrants(read_mesh(builder.save(tmp_path))) == QUADRANTS
    for view in builder.document["bufferViews"]:
        view["buffer"] = 1
    builder.glb()
    document = {**builder.document, "buffers": [*builder.document["buffers"], {"byteLength": len(builder.blob)}]}
    path = tmp_path / "packed.gltf"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"packed\.gltf: .*packed by EXT_meshopt_compression.*gltfpack"):
        read_mesh(path)


def changed(**parts) -> Builder:
    builder = textured_square(PICTURE)
    for kind, change in parts.items():
        builder.document[kind][0].update(change)
    return builder


DAMAGE = {
    "a huge count": (changed(accessors={"count": 2**40}), "which do not fit"),
    "a huge count without data": (changed(accessors={"count": 2**40, "bufferView": None}), "no data"),
    "a negative count": (changed(accessors={"count": -1}), "must be an integer of at least 0"),
    "an offset beyond the end": (changed(accessors={"byteOffset": 10**6}), "which do not fit"),
    "a negative offset": (changed(accessors={"byteOffset": -4}), "which do not fit"),
    "a view beyond the end": (changed(bufferViews={"byteLength": 10**9}), "ends at byte"),
    "a missing accessor": (changed(meshes={"primitives": [{"attributes": {"POSITION": 99}}]}), "accessors must have"),
    "a negative accessor": (changed(meshes={"primitives": [{"attributes": {"POSITION": -1}}]}), "accessors must have"),
    "an unknown type": (changed(accessors={"componentType": 5124}), "type of numbers"),
    "a node below itself": (changed(nodes={"children": [0]}), "one parent"),
    "text for a number": (changed(nodes={"translation": ["a", 0, 0]}), "cannot be read"),
    "a list for an object": (changed(nodes={"extensions": [1]}), "cannot be read"),
    "a missing mesh": (changed(nodes={"mesh": 7}), "meshes must have the entry 7"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_documents(case, tmp_path):
    builder, pattern = DAMAGE[case]
    with pytest.raises(ValueError, match=rf"^mesh: scene\.glb.*{pattern}"):
        read_mesh(builder.save(tmp_path))


def test_gltf_1_is_named(tmp_path):
    (tmp_path / "a.gltf").write_text(json.dumps({"asset": {"version": "1.0"}, "meshes": {}}))
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sIIII", b"glTF", 1, 20, 0, 0))
    for name in ("a.gltf", "a.glb"):
        with pytest.raises(ValueError, match=f"^mesh: {re.escape(name)}: the file must be glTF 2.0, got version 1"):
            read_mesh(tmp_path / name)


def test_random_damage_is_an_error_or_a_mesh(tmp_path):
    data, rng = textured_square(PICTURE).glb(), np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(300):
            broken = bytearray(data[: int(rng.integers(len(data)))] if index % 4 == 0 else data)
            for place in rng.integers(0, max(len(broken), 1), 3 if index % 4 else 0):
                broken[place] ^= 1 << int(rng.integers(8))
            (tmp_path / "a.glb").write_bytes(broken)
            try:
                read_mesh(tmp_path / "a.glb")
            except ValueError as error:
                assert "a.glb" in str(error)


def test_many_materials_are_not_searched_one_by_one(tmp_path):
    # 200 squares, each with a texture of its own: what a picture shows is right for each of them.
    builder, rng = Builder(), np.random.default_rng(0)
    colors = rng.integers(0, 256, (200, 3), dtype=np.uint8)
    coordinates, positions = builder.accessor(SQUARE_UV), builder.accessor(SQUARE)
    nodes = []
    for index, color in enumerate(colors):
        material = builder.textured(builder.texture(png(np.full((2, 2, 3), color))))
        mesh = builder.square(material, positions=positions, TEXCOORD_0=coordinates)
        nodes.append({"mesh": mesh, "translation": [index % 20, index // 20, 0]})
    builder.show(*nodes)
    mesh = read_mesh(builder.save(tmp_path))
    picture = look(mesh, 256)
    # 20 columns of squares, 1 wide in all, 2.2 away.
    reach = np.tan(np.radians(20)) * 2.2 * 2
    for index, color in enumerate(colors):
        x, y = (index % 20 - 9.5) / 20, (index // 20 - 4.5) / 20
        row, column = int((0.5 - y / reach) * 256), int((x / reach + 0.5) * 256)
        np.testing.assert_allclose(picture[row, column], color, atol=0.01)
