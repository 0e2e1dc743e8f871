"""Meshes that name files elsewhere: those are not read, whatever the spelling; what models really do still works."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.mesh_reading_atoken import read_mesh

from ..processing.glb_builder import SQUARE, SQUARE_FACES, SQUARE_UV, Builder, png

RED, GRAY = (255, 0, 0), (153, 153, 153)
LINEAR_GRAY = (81, 81, 81)  # as glTF has colors
PICTURE = png(np.full((4, 4, 3), RED, np.uint8))
CORNERS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
OBJ = "mtllib {library}\n" + CORNERS + "usemtl a\nf 1/1 2/2 3/3 4/4\n"
PLY = """ply
format ascii 1.0
comment TextureFile {name}
element vertex 3
property float x
property float y
property float z
property float s
property float t
element face 1
property list uchar int vertex_indices
end_header
0 0 0 0 0
1 0 0 1 0
0 1 0 0 1
3 0 1 2
"""


@pytest.fixture
def model(tmp_path) -> Path:
    """An empty folder of a model; two above it lie a picture and a material that are nobody's business."""
    (tmp_path / "secret.png").write_bytes(PICTURE)
    (tmp_path / "secret.mtl").write_text("newmtl a\nKd 1 0 0\n")
    (tmp_path / "secret.bin").write_bytes(SQUARE.tobytes() + SQUARE_FACES.tobytes())
    folder = tmp_path / "upload" / "model"
    folder.mkdir(parents=True)
    return folder


def spelled(secret: Path) -> dict[str, str]:
    """Ways to name a file two folders above a model."""
    name = secret.name
    return {
        "dots": f"../../{name}",
        "dots behind a folder": f"textures/../../../{name}",
        "absolute": str(secret),
        "percent codes": f"%2e%2e/%2E%2E/{name}",
        "percent slash": f"..%2f..%2f{name}",
        "backslashes": f"..\\..\\{name}",
        "other case": f"../../{name.upper()}",
        "home": f"~/../..{secret}",
        "address of a file": f"file://{secret}",
        "link": "linked" + secret.suffix,
        "linked folder": f"above/{name}",
        "sibling that is a link": f"../textures/{name}",
    }


WAYS = list(spelled(Path("/secret.png")))


def add_links(model: Path, secret: Path) -> None:
    (model / f"linked{secret.suffix}").symlink_to(secret)
    (model / "above").symlink_to(secret.parent)
    (model.parent / "textures").symlink_to(secret.parent)


def colors(mesh) -> set[tuple[int, ...]]:
    shown = mesh.textures[0].reshape(-1, 3) if mesh.textures else mesh.corner_colors.reshape(-1, 3)
    return {tuple(row) for row in np.rint(shown * 255).astype(int).tolist()}


def read(path: Path, message: str):
    with pytest.warns(MediaWarning, match=message):
        return read_mesh(path)


NOT_FOUND = "was not found in its folder or in textures, texture, images, maps beside it"


@pytest.mark.parametrize("way", WAYS)
def test_textures_of_materials(way, model, tmp_path):
    secret = tmp_path / "secret.png"
    add_links(model, secret)
    (model / "m.mtl").write_text(f"newmtl a\nmap_Kd {spelled(secret)[way]}\n")
    (model / "a.obj").write_text(OBJ.format(library="m.mtl"))
    assert colors(read(model / "a.obj", f"the texture .* {NOT_FOUND}")) == {GRAY}


@pytest.mark.parametrize("way", WAYS)
def test_material_files(way, model, tmp_path):
    secret = tmp_path / "secret.mtl"
    add_links(model, secret)
    (model / "a.obj").write_text(OBJ.format(library=spelled(secret)[way]))
    assert colors(read(model / "a.obj", f"the material file .* {NOT_FOUND}")) == {GRAY}


@pytest.mark.parametrize("way", WAYS)
def test_textures_of_ply(way, model, tmp_path):
    secret = tmp_path / "secret.png"
    add_links(model, secret)
    (model / "a.ply").write_text(PLY.format(name=spelled(secret)[way]))
    assert colors(read(model / "a.ply", f"the texture .* {NOT_FOUND}")) == {GRAY}


def gltf(image: str | None, buffer: str | None) -> tuple[str, bytes]:
    builder = Builder()
    material = None
    if image is not None:
        material = builder.textured(builder.add("textures", {"source": builder.add("images", {"uri": image})}))
    mesh = builder.square(material, TEXCOORD_0=builder.accessor(SQUARE_UV))
    builder.show({"mesh": mesh})
    builder.document["buffers"] = [{"byteLength": len(builder.blob), "uri": buffer or "b.bin"}]
    return json.dumps(builder.document), builder.blob


@pytest.mark.parametrize("way", WAYS)
def test_images_of_gltf(way, model, tmp_path):
    secret = tmp_path / "secret.png"
    add_links(model, secret)
    text, blob = gltf(spelled(secret)[way], None)
    (model / "a.gltf").write_text(text)
    (model / "b.bin").write_bytes(blob)
    message = "a texture is left out.*(does not exist in its folder or in textures|is not beside the file)"
    assert colors(read(model / "a.gltf", message)) == {LINEAR_GRAY}


@pytest.mark.parametrize("way", WAYS)
def test_buffers_of_gltf(way, model, tmp_path):
    secret = tmp_path / "secret.bin"
    add_links(model, secret)
    text, blob = gltf(None, spelled(secret)[way])
    secret.write_bytes(blob)
    (model / "a.gltf").write_text(text)
    message = "mesh: a.gltf cannot be read.*(does not exist in its folder or in textures|is not beside the file)"
    with pytest.raises(ValueError, match=message):
        read_mesh(model / "a.gltf")


def test_no_device_is_read(model):
    os.mkfifo(model / "t.png")
    (model / "m.mtl").write_text("newmtl a\nmap_Kd t.png\n")
    (model / "a.obj").write_text(OBJ.format(library="m.mtl"))
    assert colors(read(model / "a.obj", NOT_FOUND)) == {GRAY}
    (model / "m.mtl").write_text("newmtl a\nmap_Kd /dev/zero\n")
    assert colors(read(model / "a.obj", NOT_FOUND)) == {GRAY}


BESIDE = ["t.png", "deep/er/t.png", "../textures/t.png", "../Textures/wood/t.png", "../images/t.png", "../maps/t.png"]


@pytest.mark.parametrize("name", BESIDE)
def test_the_usual_places_are_read(name, model):
    place = model / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(PICTURE)
    (model / "m.mtl").write_text(f"newmtl a\nmap_Kd {name}\n")
    (model / "a.obj").write_text(OBJ.format(library="m.mtl"))
    assert colors(read_mesh(model / "a.obj")) == {RED}


def test_the_cache_of_the_hub_is_read(model, tmp_path):
    """All files of a downloaded repository are links to others of made-up names in a folder further up."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    contents = {"a.obj": OBJ.format(library="m.mtl").encode(), "m.mtl": b"newmtl a\nmap_Kd textures/t.png\n"}
    for index, (name, data) in enumerate({**contents, "textures/t.png": PICTURE}.items()):
        (blobs / f"{index:040x}").write_bytes(data)
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).symlink_to(blobs / f"{index:040x}")
    assert colors(read_mesh(model / "a.obj")) == {RED}
    moved = tmp_path / "moved"
    shutil.copytree(model, moved, symlinks=True)
    assert colors(read_mesh(moved / "a.obj")) == {RED}
