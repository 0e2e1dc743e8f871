"""Meshes and Gaussians whose headers claim more than there is, or whose scenes repeat a little far too often."""

import json
import struct

import numpy as np
import pytest

from atoken.gaussian_files_atoken import load_ply, load_splat
from atoken.processing.mesh_reading_atoken import read_mesh

from ..processing.glb_builder import SQUARE, SQUARE_UV, Builder, png
from .memory import memory_below

VERTEX = "property float x\nproperty float y\nproperty float z\n"
FACE = "property list uchar int vertex_indices\n"


def ply(form: str, vertices: int, faces: int, body: bytes, face: str = FACE) -> bytes:
    header = f"ply\nformat {form} 1.0\nelement vertex {vertices}\n{VERTEX}element face {faces}\n{face}end_header\n"
    return header.encode() + body


def glb(document: dict | str, blob: bytes = b"", json_size: int | None = None) -> bytes:
    text = (document if isinstance(document, str) else json.dumps(document)).encode()
    text += b" " * (-len(text) % 4)
    size = len(text) if json_size is None else json_size
    chunks = struct.pack("<II", size, 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def square(**accessor: int) -> Builder:
    builder = Builder()
    builder.show({"mesh": builder.square()})
    builder.document["accessors"][0].update(accessor)
    return builder


def without_data() -> bytes:
    """Positions without bytes, as many as a buffer that nobody has is said to be long."""
    builder = square(count=10**11)
    del builder.document["accessors"][0]["bufferView"]
    data = builder.glb()
    document = builder.document
    document["buffers"].append({"byteLength": 10**12, "uri": "data:,short"})
    assert data
    return glb(document, builder.blob)


def unread_buffer() -> bytes:
    builder = square()
    builder.glb()
    builder.document["buffers"][0]["byteLength"] = 10**12
    return glb(builder.document, builder.blob)


TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
TRIANGLE_TEXT = b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
CLAIMS = {
    "vertices of a binary PLY": ("a.ply", lambda: ply("binary_little_endian", 10**15, 1, TRIANGLE), "rows of vertex"),
    "faces of a binary PLY": ("a.ply", lambda: ply("binary_little_endian", 3, 10**15, TRIANGLE), "rows of face"),
    "vertices of an ascii PLY": ("a.ply", lambda: ply("ascii", 10**15, 1, TRIANGLE_TEXT), "rows of vertex"),
    "digits of a PLY": (
        "a.ply",
        lambda: ply("ascii", 3, 1, b"").replace(b"x 3", b"x " + b"9" * 9999),
        "cannot be read",
    ),
    "length of a list": (
        "a.ply",
        lambda: ply(
            *("binary_little_endian", 3, 1, TRIANGLE + struct.pack("<I", 2**32 - 1)),
            face="property list uint int vertex_indices\n",
        ),
        "ends within",
    ),
    "triangles of an STL": (
        "a.stl",
        lambda: bytes(80) + struct.pack("<I", 2**32 - 1) + bytes(50),
        "which has no faces",
    ),
    "a chunk of a GLB": ("a.glb", lambda: glb({"asset": {"version": "2.0"}}, json_size=2**32 - 1), "ends after"),
    "depth of a GLB's JSON": ("a.glb", lambda: glb('{"asset": ' + "[" * 100_000), "nested too deeply"),
    "depth of a glTF": ("a.gltf", lambda: b'{"nodes": ' + b'{"a": ' * 100_000, "nested too deeply"),
    "rows of an accessor": ("a.glb", lambda: square(count=10**12).glb(), "do not fit"),
    "rows without data": ("a.glb", without_data, "must have 1000000000000 bytes, it has 5"),
    "length of a buffer": ("a.glb", unread_buffer, "must have 1000000000000 bytes"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_claims_of_meshes(case, tmp_path):
    name, make, message = CLAIMS[case]
    (tmp_path / name).write_bytes(make())
    with memory_below(150), pytest.raises(ValueError, match=rf"^mesh.*a\..*{message}"):
        read_mesh(tmp_path / name)


def instanced(count: int) -> bytes:
    builder = Builder()
    places = builder.accessor(np.zeros((count, 3), np.float32))
    extension = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}
    builder.show({"mesh": builder.square(), "extensions": extension})
    return builder.glb()


def repeated(count: int) -> bytes:
    builder = Builder()
    mesh = builder.square()
    primitives = builder.document["meshes"][mesh]["primitives"]
    primitives *= count
    builder.show({"mesh": mesh})
    return builder.glb()


def many_vertices(count: int) -> bytes:
    """One face, of a part with many vertices, at some places."""
    builder = Builder()
    positions = builder.accessor(np.concatenate([SQUARE, np.zeros((3 * 100, 3), np.float32)]))
    mesh = builder.square(positions=positions)
    places = builder.accessor(np.zeros((count // 100, 3), np.float32))
    extension = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}
    builder.show({"mesh": mesh, "extensions": extension})
    return builder.glb()


@pytest.mark.parametrize("make", [instanced, repeated, many_vertices])
def test_repetition_is_limited(make, tmp_path, monkeypatch):
    path = tmp_path / "a.glb"
    path.write_bytes(make(2000))
    assert len(read_mesh(path).faces) <= 4000
    monkeypatch.setenv("ATOKEN_MAX_MESH_FACES", "1500")
    with pytest.raises(ValueError, match="must have at most 1,500 faces.*ATOKEN_MAX_MESH_FACES"):
        read_mesh(path)


def test_the_default_limit_is_reached_before_memory_is_taken(tmp_path):
    (tmp_path / "a.glb").write_bytes(many_vertices(40_000_000))
    with memory_below(400), pytest.raises(ValueError, match=f"must have at most {2**25:,} faces, got"):
        read_mesh(tmp_path / "a.glb")


def test_textures_are_limited_together(tmp_path, monkeypatch):
    builder = Builder()
    uv = builder.accessor(SQUARE_UV)
    nodes = []
    for shade in range(5):
        picture = png(np.full((64, 64, 3), shade, np.uint8))
        nodes.append({"mesh": builder.square(builder.textured(builder.texture(picture)), TEXCOORD_0=uv)})
    builder.show(*nodes)
    (tmp_path / "a.glb").write_bytes(builder.glb())
    assert len(read_mesh(tmp_path / "a.glb").textures) == 5
    monkeypatch.setenv("ATOKEN_MAX_TEXTURE_PIXELS", str(4 * 64 * 64))
    with pytest.raises(ValueError, match="at most 16,384 pixels in all of its textures.*ATOKEN_MAX_TEXTURE_PIXELS"):
        read_mesh(tmp_path / "a.glb")


LIST = "ply\nformat {form} 1.0\nelement face {count}\nproperty list {kind} int vertex_indices\nelement vertex 1\n"
GAUSSIANS = {
    # With these, reading went back to where it was, a trillion times.
    "negative lists of text": (
        LIST.format(form="ascii", count=10**12, kind="char") + VERTEX + "end_header\n-1\n"
    ).encode(),
    "negative lists of bytes": (
        LIST.format(form="binary_little_endian", count=10**12, kind="char") + VERTEX + "end_header\n"
    ).encode()
    + b"\xfc\xff\xff\xff",
    "rows": f"ply\nformat binary_little_endian 1.0\nelement vertex {10**15}\n{VERTEX}end_header\n".encode() + bytes(99),
    "rows of nothing": f"ply\nformat ascii 1.0\nelement vertex {10**15}\nend_header\n".encode(),
}


@pytest.mark.parametrize("case", GAUSSIANS)
def test_claims_of_gaussians(case, tmp_path):
    (tmp_path / "a.ply").write_bytes(GAUSSIANS[case])
    with memory_below(150), pytest.raises(ValueError, match=r"path: .*a\.ply"):
        load_ply(tmp_path / "a.ply")


def test_splats_have_no_header_to_believe(tmp_path):
    (tmp_path / "a.splat").write_bytes(bytes(33))
    with pytest.raises(ValueError, match="must be 32 bytes for each Gaussian, got 33 bytes"):
        load_splat(tmp_path / "a.splat")
