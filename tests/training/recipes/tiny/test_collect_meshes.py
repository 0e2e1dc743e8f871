"""The list of meshes and its split, and unpacking a package of catalogs."""

import io
import json
import re
import subprocess
import zipfile

import pytest

from atoken.training.recipes.tiny.collect_meshes import LIST, collect

OBJ = b"mtllib cube.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture(scope="module")
def listed():
    return json.loads(LIST.read_text(encoding="utf-8"))


def test_every_object_has_a_name_of_its_own_an_author_and_a_license(listed):
    names = [item["name"].lower() for item in listed["items"]]
    assert len(set(names)) == len(names) > 700
    assert all(item["author"] and item["catalog"] in listed["licences"] for item in listed["items"])
    assert all(licence.startswith("CC") for licence in listed["licences"].values())


def test_variants_of_a_model_are_on_one_side(listed):
    sides = {}
    for item in listed["items"]:
        family = re.sub("[^a-z]", "", item["path"].split("/")[-1].removesuffix(".obj").lower())
        sides.setdefault(family, set()).add(item["split"])
    held_out = [item for item in listed["items"] if item["split"] == "heldout"]
    assert len(held_out) == 36
    assert all(
        sides[re.sub("[^a-z]", "", i["path"].split("/")[-1].removesuffix(".obj").lower())] == {"heldout"}
        for i in held_out
    )


@pytest.fixture
def package(tmp_path):
    """Builds a Debian package with one catalog of two objects, one of which has a picture, and a page to leave out."""
    catalog = io.BytesIO()
    with zipfile.ZipFile(catalog, "w") as writer:
        writer.writestr("a/cube/cube.obj", OBJ)
        writer.writestr("a/cube/cube.mtl", b"newmtl m\nmap_Kd wood.jpg\n")
        writer.writestr("a/cube/wood.jpg", b"picture")
        writer.writestr("a/cube/licence, as a page.html", b"page")
        writer.writestr("a/ball/ball.obj", OBJ)
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: meshes\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: meshes\n"
    )
    (root / "usr/share").mkdir(parents=True)
    (root / "usr/share/Catalog.sh3f").write_bytes(catalog.getvalue())
    archive = tmp_path / "meshes_1.0-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(archive)], check=True, capture_output=True)
    return archive


def test_collecting_unpacks_what_is_listed(package, tmp_path):
    items = [
        {"name": "cube", "catalog": "Catalog", "path": "a/cube/cube.obj", "author": "A", "split": "train"},
        {"name": "ball", "catalog": "Catalog", "path": "a/ball/ball.obj", "author": "B", "split": "heldout"},
        {"name": "gone", "catalog": "Catalog", "path": "a/gone/gone.obj", "author": "C", "split": "train"},
    ]
    meshes = {"package": "meshes", "folder": "usr/share", "licences": {"Catalog": "CC0-1.0"}, "items": items}
    out = tmp_path / "out"
    out.mkdir()
    assert collect(meshes, package, out) == ["gone"]
    assert sorted(path.name for path in (out / "train/cube").iterdir()) == ["cube.mtl", "cube.obj", "wood.jpg"]
    assert (out / "heldout/ball/ball.obj").read_bytes() == OBJ
    manifest = json.loads((out / "manifest.json").read_text())
    assert [(entry["file"], entry["licence"]) for entry in manifest] == [
        ("train/cube/cube.obj", "CC0-1.0"),
        ("heldout/ball/ball.obj", "CC0-1.0"),
    ]
    # A second run leaves what is there.
    (out / "train/cube/cube.obj").write_bytes(b"mine")
    collect(meshes, package, out)
    assert (out / "train/cube/cube.obj").read_bytes() == b"mine"


def test_a_name_cannot_lead_out_of_the_folder(package, tmp_path):
    item = {"name": "../cube", "catalog": "Catalog", "path": "a/cube/cube.obj", "author": "A", "split": "train"}
    meshes = {"package": "meshes", "folder": "usr/share", "licences": {"Catalog": "CC0-1.0"}, "items": [item]}
    with pytest.raises(ValueError, match="name must be a plain file name, got '../cube'"):
        collect(meshes, package, tmp_path / "out")
