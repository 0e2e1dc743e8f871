"""The list of meshes and its splits, and unpacking packages of catalogs and of game models."""

import hashlib
import io
import json
import re
import subprocess
import zipfile
from collections import Counter

import pytest

from atoken.training.recipes.tiny.collect_meshes import LIST, collect, model_file

from .test_game_meshes import g3d

OBJ = b"mtllib cube.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture(scope="module")
def listed():
    return json.loads(LIST.read_text(encoding="utf-8"))


def family(item):
    return re.sub("[^a-z]", "", item["path"].split("/")[-1].partition(".")[0].lower())


def test_every_object_has_a_name_of_its_own_an_author_and_a_license(listed):
    names = [item["name"].lower() for item in listed["items"]]
    assert len(set(names)) == len(names) > 1200
    assert len({model_file(item).lower() for item in listed["items"]}) == len(names)
    assert all(item["author"] and item["licence"] and item["package"] in listed["packages"] for item in listed["items"])
    assert all(len(bytes.fromhex(item["sha256"])) == 32 for item in listed["items"])


def test_objects_that_are_measured_stay_apart_and_are_enough(listed):
    splits = Counter(item["split"] for item in listed["items"])
    assert splits["heldout"] == 36 and splits["test"] >= 60
    models = {split: {item["sha256"] for item in listed["items"] if item["split"] == split} for split in splits}
    assert not models["train"] & (models["heldout"] | models["test"])
    assert len({item["source"] for item in listed["items"] if item["split"] == "test"}) == 4


def test_variants_of_a_model_are_on_one_side(listed):
    sides = {}
    for item in listed["items"]:
        if item["source"] == "sweethome3d":
            sides.setdefault(family(item), set()).add(item["split"])
    assert all(len(splits) == 1 for splits in sides.values() if splits & {"heldout", "test"})


def test_textures_of_their_own_are_not_on_two_sides(listed):
    """A texture in the folder of a model, not in one that all models share, belongs to one thing."""
    sides = {}
    for item in listed["items"]:
        folder = item["path"].rpartition("/")[0]
        for path in item.get("textures", {}).values():
            if path.rpartition("/")[0] == folder:
                sides.setdefault(path, set()).add(item["split"])
    assert len(sides) > 100 and all(len(splits) == 1 for splits in sides.values())


@pytest.fixture
def cache(tmp_path):
    """Builds a package: a catalog of two objects, of which one has a picture, a page to leave out, and a game model."""
    catalog = io.BytesIO()
    with zipfile.ZipFile(catalog, "w") as writer:
        writer.writestr("a/cube/cube.obj", OBJ)
        writer.writestr("a/cube/cube.mtl", b"newmtl m\nmap_Kd wood.jpg\n")
        writer.writestr("a/cube/wood.jpg", b"picture")
        writer.writestr("a/cube/licence, as a page.html", b"page")
        writer.writestr("a/ball/ball.obj", OBJ)
    root, cache = tmp_path / "root", tmp_path / "cache"
    cache.mkdir()
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: meshes\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: meshes\n"
    )
    (root / "usr/share").mkdir(parents=True)
    (root / "usr/share/Catalog.sh3f").write_bytes(catalog.getvalue())
    (root / "usr/share/cow.g3d").write_bytes(g3d())
    (root / "usr/share/skin.png").write_bytes(b"picture")
    (root / "usr/share/link.png").symlink_to("skin.png")
    archive = cache / "meshes_1.0-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(archive)], check=True, capture_output=True)
    return cache


def entry(name, path, content=OBJ, split="train", **more):
    item = {"name": name, "source": "here", "package": "meshes", "path": path, "author": "A", "licence": "CC0-1.0"}
    return {**item, "split": split, "sha256": hashlib.sha256(content).hexdigest(), **more}


def listing(*items):
    return {"packages": {"meshes": {"channel": "debian", "version": "1.0-1"}}, "items": list(items)}


CATALOG = {"catalog": "usr/share/Catalog.sh3f"}


def test_collecting_unpacks_what_is_listed(cache, tmp_path):
    meshes = listing(
        entry("cube", "a/cube/cube.obj", **CATALOG),
        entry("ball", "a/ball/ball.obj", split="heldout", **CATALOG),
        entry("gone", "a/gone/gone.obj", **CATALOG),
        entry("cow", "usr/share/cow.g3d", g3d(), "test", textures={"skin.png": "usr/share/skin.png"}),
        entry("bald", "usr/share/cow.g3d", g3d(), textures={"skin.png": "usr/share/link.png"}),
    )
    out = tmp_path / "out"
    assert collect(meshes, out, cache) == [
        "gone: no 'gone.obj' in meshes_1.0-1_all.deb",
        "bald: no 'usr/share/link.png' in meshes_1.0-1_all.deb",
    ]
    assert sorted(path.name for path in (out / "train/here/cube").iterdir()) == ["cube.mtl", "cube.obj", "wood.jpg"]
    assert (out / "heldout/ball/ball.obj").read_bytes() == OBJ
    assert sorted(path.name for path in (out / "test/cow").iterdir()) == ["cow.mtl", "cow.obj", "texture0.png"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert [(item["name"], item["file"], item["version"]) for item in manifest] == [
        ("ball", "heldout/ball/ball.obj", "1.0-1"),
        ("cow", "test/cow/cow.obj", "1.0-1"),
        ("here/cube", "train/here/cube/cube.obj", "1.0-1"),
    ]


def test_collecting_goes_on_where_it_was_stopped(cache, tmp_path):
    meshes = listing(
        entry("cube", "a/cube/cube.obj", **CATALOG),
        entry("ball", "a/ball/ball.obj", split="heldout", **CATALOG),
    )
    out = tmp_path / "out"
    collect(meshes, out, cache)
    kept, damaged = out / "heldout/ball/ball.obj", out / "train/here/cube/cube.obj"
    before = kept.stat().st_mtime_ns
    damaged.write_bytes(b"")
    assert collect(meshes, out, cache) == []
    assert kept.stat().st_mtime_ns == before and damaged.read_bytes() == OBJ
    # Nothing is missing, so no package is needed.
    (cache / "meshes_1.0-1_all.deb").unlink()
    assert collect(meshes, out, cache) == []
    assert len(json.loads((out / "manifest.json").read_text())) == 2


def test_a_model_that_is_not_the_listed_one_is_refused(cache, tmp_path):
    meshes = listing(entry("cube", "a/cube/cube.obj", b"another", **CATALOG))
    (failure,) = collect(meshes, tmp_path / "out", cache)
    assert failure.startswith("cube: model must be that of the list, with SHA-256")
    assert not (tmp_path / "out/train/here/cube").exists()


def test_a_name_cannot_lead_out_of_the_folder(cache, tmp_path):
    with pytest.raises(ValueError, match="name must be a plain file name, got '../cube'"):
        collect(listing(entry("../cube", "a/cube/cube.obj", **CATALOG)), tmp_path / "out", cache)
