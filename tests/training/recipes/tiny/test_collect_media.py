"""The list of media and its splits, and collecting from packages of every channel."""

import hashlib
import io
import json
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from atoken.training.recipes.tiny.collect_media import LIST, collect, make_demo, place, safe_name, unlisted
from atoken.training.recipes.tiny.photo_files import KINDS
from atoken.training.recipes.tiny.picture_hashes import BITS_APART


@pytest.fixture(scope="module")
def listed():
    return json.loads(LIST.read_text(encoding="utf-8"))


def pictures(listed, *splits):
    return [item for item in listed["items"] if item["kind"] != "clip" and item["split"] in splits]


def test_every_item_has_a_place_of_its_own_a_license_and_a_checksum(listed):
    places = [place(item).lower() for item in listed["items"]]
    assert len(set(places)) == len(places) > 1000
    assert all(item["licence"] and item["package"] in listed["packages"] for item in listed["items"])
    assert all(len(bytes.fromhex(item["sha256"])) == 32 for item in listed["items"])
    assert all(len(bytes.fromhex(item["dhash"])) == 8 for item in listed["items"] if item["kind"] != "clip")
    assert {item["kind"] for item in listed["items"]} <= {*KINDS, "clip"}
    assert all(about["version"] and about["licence"] for about in listed["packages"].values())


def test_the_media_that_are_measured_stay_the_same_and_are_enough(listed):
    assert len(pictures(listed, "heldout")) == 24
    assert {item["name"] for item in listed["items"] if item["kind"] == "clip" and item["split"] == "heldout"} == {
        "bikes.mp4",
        "cup.mp4",
    }
    assert len(pictures(listed, "test")) >= 40
    # As the harness cuts them: 16 frames from every 60th on.
    test_clips = [item for item in listed["items"] if item["kind"] == "clip" and item["split"] == "test"]
    assert sum(1 + (item["frames"] - 16) // 60 for item in test_clips) >= 8


def test_no_package_of_test_pictures_has_others_and_no_clip_is_on_both_sides(listed):
    packages = {split: {item["package"] for item in pictures(listed, split)} for split in ("train", "heldout", "test")}
    assert not packages["test"] & (packages["train"] | packages["heldout"])
    clips = [item for item in listed["items"] if item["kind"] == "clip"]
    sources = {split: {item["sha256"] for item in clips if item["split"] == split} for split in packages}
    assert not sources["train"] & (sources["test"] | sources["heldout"])


def test_no_picture_of_one_side_looks_like_one_of_the_other(listed):
    train, measured = (
        np.array([int(item["dhash"], 16) for item in pictures(listed, *splits)], dtype=np.uint64)
        for splits in (("train",), ("heldout", "test"))
    )
    assert np.bitwise_count(train[:, None] ^ measured).min() > BITS_APART
    apart = np.bitwise_count(measured[:, None] ^ measured) + 64 * np.eye(len(measured), dtype=np.uint8)
    assert apart.min() > BITS_APART


def test_places_are_safe_and_training_pictures_are_in_a_folder_of_their_package():
    item = {"name": "a", "kind": "texture", "split": "train", "package": "@scope/name"}
    assert place(item) == "photos/train/scope-name-textures/a.jpg"
    assert place({**item, "split": "test"}) == "photos/test/a.jpg"
    assert place({**item, "kind": "photo"}) == "photos/train/scope-name/a.jpg"
    with pytest.raises(ValueError, match="name must be a plain file name, got '../a'"):
        safe_name("../a")


def png(color, size=(40, 30)):
    content = io.BytesIO()
    Image.new("RGB", size, color).save(content, "PNG")
    return content.getvalue()


def add_to_tar(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def cache(tmp_path):
    """Builds an archive of each channel, with one picture each."""
    cache = tmp_path / "cache"
    cache.mkdir()
    add_to_tar(cache / "scope-name-1.0.tgz", {"package/img/red.png": png("red"), "package/code.js": b"x"})
    add_to_tar(cache / "made_of-2.0.tar.gz", {"made_of-2.0/green.png": png("lime")})
    with zipfile.ZipFile(cache / "made_of-2.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("made/blue.png", png("blue"))
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: pictures\nVersion: 3.0-1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: pictures\n"
    )
    (root / "usr").mkdir()
    (root / "usr/white.png").write_bytes(png("white", (2000, 1000)))
    deb = cache / "pictures_3.0-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(deb)], check=True, capture_output=True)
    return cache


def entry(name, package, path, content, split="train"):
    sha256 = hashlib.sha256(content).hexdigest()
    item = {"name": name, "kind": "photo", "split": split, "package": package, "path": path, "licence": "CC0-1.0"}
    return {**item, "sha256": sha256}


@pytest.fixture
def media():
    return {
        "packages": {
            "@scope/name": {"channel": "npm", "version": "1.0"},
            "made-of": {"channel": "pypi-sdist", "version": "2.0"},
            "pictures": {"channel": "debian", "version": "3.0-1"},
        },
        "items": [
            entry("red", "@scope/name", "img/red.png", png("red")),
            entry("green", "made-of", "green.png", png("lime"), "heldout"),
            entry("white", "pictures", "usr/white.png", png("white", (2000, 1000)), "test"),
        ],
    }


def color(path):
    with Image.open(path) as image:
        return image.size, image.getpixel((5, 5))


def test_collecting_writes_pictures_of_every_channel_and_a_manifest(media, cache, tmp_path):
    out = tmp_path / "out"
    assert collect(media, out, cache) == []
    size, (red, green, blue) = color(out / "photos/train/scope-name/red.jpg")
    assert size == (40, 30) and red > 250 and max(green, blue) < 5
    assert color(out / "photos/heldout/green.jpg")[1][1] > 250
    assert color(out / "photos/test/white.jpg") == ((1536, 768), (255, 255, 255))
    manifest = json.loads((out / "manifest.json").read_text())
    assert [(item["file"], item["version"]) for item in manifest] == [
        ("photos/heldout/green.jpg", "2.0"),
        ("photos/test/white.jpg", "3.0-1"),
        ("photos/train/scope-name/red.jpg", "1.0"),
    ]
    # The same package as a wheel.
    media["packages"]["made-of"]["channel"] = "pypi"
    media["items"] = [entry("blue", "made-of", "made/blue.png", png("blue"))]
    assert collect(media, out, cache) == []
    assert color(out / "photos/train/made-of/blue.jpg")[1][2] > 250


def test_collecting_goes_on_where_it_was_stopped(media, cache, tmp_path):
    out = tmp_path / "out"
    collect(media, out, cache)
    red, white = out / "photos/train/scope-name/red.jpg", out / "photos/test/white.jpg"
    before = red.stat().st_mtime_ns
    whole = white.read_bytes()
    white.write_bytes(whole[:100])
    # What is there needs no package any more.
    (cache / "scope-name-1.0.tgz").unlink()
    assert collect(media, out, cache) == []
    assert red.stat().st_mtime_ns == before and white.read_bytes() == whole


def test_what_cannot_be_had_is_named_and_the_rest_is_made(media, cache, tmp_path):
    media["items"].append(entry("gone", "pictures", "usr/gone.png", b""))
    (cache / "made_of-2.0.tar.gz").write_bytes(b"damaged")
    media["packages"]["nowhere"] = {"channel": "carrier pigeon", "version": "1"}
    media["items"].append(entry("far", "nowhere", "far.png", b""))
    failures = collect(media, tmp_path / "out", cache)
    assert len(failures) == 3
    text = "\n".join(failures)
    assert "gone: no usr/gone.png in pictures_3.0-1_all.deb" in text and "made-of: " in text
    assert "nowhere: channel must be one of debian, pypi, pypi-sdist, npm, got 'carrier pigeon'" in text
    assert (tmp_path / "out/photos/test/white.jpg").is_file() and (tmp_path / "out/photos/train/scope-name").is_dir()


def test_a_file_that_changed_since_the_list_was_made_is_named(media, cache, tmp_path, capsys):
    media["items"][0]["sha256"] = "0" * 64
    assert collect(media, tmp_path / "out", cache) == []
    assert "red: not the file that the list was made with" in capsys.readouterr().err


def test_files_beside_the_listed_ones_are_found(media, cache, tmp_path):
    out = tmp_path / "out"
    collect(media, out, cache)
    stranger = out / "photos/train/old.jpg"
    stranger.write_bytes(b"")
    assert unlisted(media, out) == [stranger]


def test_the_demo_is_made_of_what_is_held_out_and_nothing_else(media, cache, tmp_path):
    media["items"].append(entry("gone", "made-of", "gone.png", b"", "heldout"))
    media["demo"] = [{"name": "lime.jpg", "from": "green"}, {"name": "gone.jpg", "from": "gone"}]
    assert make_demo(media, tmp_path / "demo", cache) == ["gone.jpg: no gone.png in made_of-2.0.tar.gz"]
    assert color(tmp_path / "demo/lime.jpg")[0] == (40, 30)
    media["demo"] = [{"name": "red.jpg", "from": "red"}]
    with pytest.raises(ValueError, match="red.jpg: split of red must be 'heldout', got 'train'"):
        make_demo(media, tmp_path / "demo", cache)
