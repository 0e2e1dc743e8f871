"""Readers of the meshes of games against files packed here byte by byte, and the OBJ files that they become."""

import io
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.training.recipes.tiny.g3d_reading import read_g3d
from atoken.training.recipes.tiny.mesh_parts import DamagedMesh, MeshPart, obj_files
from atoken.training.recipes.tiny.spm_reading import read_spm

PLACES = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
UV = np.array([[0, 0], [1, 0], [0.5, 0.25], [0, 1]], np.float32)
FACES = [[0, 1, 2], [0, 2, 3]]


def spm(kind, flags, materials, places=PLACES, colors=None, faces=FACES, end=None):
    """Packs an .spm of one buffer, whose material is the last."""
    data = b"SP" + bytes([1 * 8 + kind, flags]) + struct.pack("<6f", *places.min(0), *places.max(0))
    data += struct.pack("<H", len(materials))
    for names in materials:
        for name in names:
            data += bytes([len(name)]) + name.encode()
    data += struct.pack("<HHIIH", 1, 1, len(places), 3 * len(faces), len(materials) - 1)
    first, second = materials[-1]
    for index, place in enumerate(places):
        data += struct.pack("<3f", *place)
        if flags & 1:
            data += b"\xaa" * 4
        if flags & 2:
            color = (colors or [None] * len(places))[index]
            data += bytes([128]) if color is None else bytes(color)
        if first:
            data += struct.pack("<2e", *UV[index % len(UV)])
            if second:
                data += b"\xbb" * 4
            if flags & 4:
                data += b"\xcc" * 4
        if kind == 1:
            data += b"\xdd" * 16
    wide = len(places) > 255
    data += b"".join(struct.pack("<H" if wide else "<B", index) for face in faces for index in face)
    return data[:end]


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("flags", range(8))
@pytest.mark.parametrize("names", [("wood.png", ""), ("wood.png", "light.png"), ("", "")])
def test_every_layout_of_an_spm_is_read(kind, flags, names):
    colors = [None, (1, 2, 3, 4), None, (0, 0, 0, 0)]
    (part,) = read_spm(spm(kind, flags, [("other.png", "x"), names], colors=colors))
    # Left-handed becomes right-handed, so that what was seen from outside still is.
    assert np.array_equal(part.vertices, PLACES * [1, 1, -1])
    assert part.faces.tolist() == [[2, 1, 0], [3, 2, 0]]
    assert part.texture == names[0]
    if names[0]:
        assert np.array_equal(part.uv, np.stack([UV[:, 0], 1 - UV[:, 1]], axis=1))
    else:
        assert part.uv is None


def test_indices_of_many_vertices_take_two_bytes():
    places = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    (part,) = read_spm(spm(0, 1, [("a.png", "")], places=places, faces=[[0, 299, 256]]))
    assert part.faces.tolist() == [[256, 299, 0]]
    assert np.array_equal(part.vertices[:, 1], places[:, 1])


def test_a_buffer_without_triangles_is_left_out():
    assert read_spm(spm(0, 0, [("a.png", "")], faces=[])) == []


def test_damaged_spm_files_are_refused():
    whole = spm(0, 3, [("a.png", "")])
    for end in range(len(whole)):
        with pytest.raises(DamagedMesh, match="must"):
            read_spm(whole[:end])
    with pytest.raises(DamagedMesh, match="must begin with b'SP', got b'XX'"):
        read_spm(b"XX" + whole[2:])
    with pytest.raises(DamagedMesh, match="indices must be triangles of 4 vertices, got 3 up to 9"):
        read_spm(spm(0, 0, [("a.png", "")], faces=[[0, 1, 9]]))


def g3d(frames=PLACES[None], textures=("skin.png",), properties=0, faces=FACES, meshes=1):
    """Packs a .g3d of one mesh or several alike."""
    data = b"G3D" + bytes([4]) + struct.pack("<HB", meshes, 0)
    count = frames.shape[1]
    for _ in range(meshes):
        data += b"body".ljust(64, b"\0") + struct.pack("<3I", len(frames), count, 3 * len(faces))
        data += struct.pack("<8f2I", 0.25, 0.5, 2.0, 9, 9, 9, 9, 1, properties, 2 ** len(textures) - 1)
        data += b"".join(name.encode().ljust(64, b"\0") for name in textures)
        data += frames.astype("<f4").tobytes() + np.full(frames.shape, 7, "<f4").tobytes()
        if textures:
            data += UV[:count].tobytes()
        data += np.array(faces, "<u4").tobytes()
    return data


def test_a_g3d_is_read_with_all_its_poses():
    frames = np.stack([PLACES, PLACES + 1, PLACES - 1])
    meshes = read_g3d(g3d(frames, ("skin.png", "shine.png"), properties=3, meshes=2))
    assert len(meshes) == 2
    for mesh in meshes:
        assert np.array_equal(mesh.frames, frames) and np.array_equal(mesh.part.vertices, PLACES)
        assert mesh.part.faces.tolist() == FACES and np.array_equal(mesh.part.uv, UV)
        assert mesh.part.texture == "skin.png" and mesh.is_team_colored


def test_a_g3d_without_texture_has_its_color():
    (mesh,) = read_g3d(g3d(textures=()))
    assert mesh.part.uv is None and mesh.part.texture == "" and mesh.part.color == (0.25, 0.5, 1.0)
    assert not mesh.is_team_colored


def test_damaged_g3d_files_are_refused():
    whole = g3d()
    for end in (*range(0, len(whole), 7), len(whole) - 1):
        with pytest.raises(DamagedMesh, match="must"):
            read_g3d(whole[:end])
    with pytest.raises(DamagedMesh, match="must begin with b'G3D' and a byte of 4"):
        read_g3d(whole[:3] + bytes([3]) + whole[4:])
    with pytest.raises(DamagedMesh, match="indices must be triangles of 4 vertices, got 3 up to 9"):
        read_g3d(g3d(faces=[[0, 1, 9]]))


def test_coordinates_that_are_no_numbers_become_zero():
    broken = g3d().replace(UV.tobytes(), np.array([[np.nan, np.inf], *UV[1:]], np.float32).tobytes())
    assert read_g3d(broken)[0].part.uv.tolist() == [[0, 0], *UV[1:].tolist()]


def picture(color):
    content = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(content, "PNG")
    return content.getvalue()


def test_parts_become_an_obj_file_that_others_read(tmp_path):
    parts = [
        MeshPart(PLACES, np.array(FACES), UV, "with blank.PNG"),
        MeshPart(PLACES + 5, np.array([[1, 2, 3]]), None, "", (1.0, 0.0, 0.0)),
        MeshPart(PLACES + 9, np.array([[0, 1, 3]]), UV, "missing.png", (0.0, 1.0, 0.0)),
    ]
    files = obj_files("thing", parts, {"with blank.PNG": picture("blue"), "unused.png": b""})
    assert sorted(files) == ["texture0.png", "thing.mtl", "thing.obj"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    mesh = read_mesh(tmp_path / "thing.obj", up="z")
    assert mesh.faces.shape == (4, 3) and mesh.texture_ids.tolist() == [0, 0, -1, -1]
    assert np.allclose(mesh.textures[0][0, 0], [0, 0, 1])
    assert np.allclose(mesh.uv[0], UV[[0, 1, 2]]) and np.allclose(mesh.corner_colors[2], [1, 0, 0])
    assert np.allclose(mesh.corner_colors[3], [0, 1, 0])
    scene = trimesh.load_scene(tmp_path / "thing.obj", process=False)
    triangles = np.concatenate([part.triangles for part in scene.dump()])
    assert np.allclose(sorted(triangles[:, 0].tolist()), sorted([[0, 0, 0], [0, 0, 0], [6, 5, 5], [9, 9, 9]]))
