"""Folders of views whose transforms.json names files elsewhere, or far too much."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atoken.processing.views_atoken import read_views

from .memory import memory_below

POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "upload" / "views"
    folder.mkdir(parents=True)
    for place in (tmp_path / "secret.png", folder / "a.png"):
        Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(place)
    np.save(tmp_path / "secret.npy", np.ones((8, 8), np.float32))
    (folder / "linked.png").symlink_to(tmp_path / "secret.png")
    (folder / "above").symlink_to(tmp_path)
    return folder


def write(folder: Path, *frames: dict) -> Path:
    document = {"camera_angle_x": 1, "frames": [{"transform_matrix": POSE, **frame} for frame in frames]}
    (folder / "transforms.json").write_text(json.dumps(document))
    return folder


WAYS = ["../../secret", "../../secret.png", "a/../../../secret.png", "{absolute}", "linked.png", "above/secret.png"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", ["file_path", "mask_path", "depth_file_path"])
def test_pictures_elsewhere(way, key, folder, tmp_path):
    name = way.format(absolute=tmp_path / "secret.png")
    with pytest.raises(ValueError, match=rf"frames\[0\]\.{key} must lie in the folder of .*transforms\.json"):
        read_views(write(folder, {"file_path": "a.png", key: name}))


def test_depths_elsewhere(folder):
    with pytest.raises(ValueError, match=r"depth_file_path must lie in the folder of"):
        read_views(write(folder, {"file_path": "a.png", "depth_file_path": "../../secret.npy"}))


def test_whether_a_file_is_there_is_not_told(folder):
    messages = []
    for name in ("../../secret.png", "../../nothing.png"):
        with pytest.raises(ValueError, match="must lie in") as told:
            read_views(write(folder, {"file_path": name}))
        messages.append(str(told.value).replace(name, ""))
    assert messages[0] == messages[1]


def test_the_usual_places_are_read(folder):
    for name in ("deep/er/a.png", "../images/a.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / "a.png").rename(folder / name)
        assert len(read_views(write(folder, {"file_path": name})).images) == 1
        (folder / name).rename(folder / "a.png")


def test_names_are_no_more_than_names(folder):
    with pytest.raises(ValueError, match=r"frames\[0\].file_path must be the path of a picture"):
        read_views(write(folder, {"file_path": "a.png\0"}))


def test_one_small_picture_a_thousand_times(folder, monkeypatch):
    monkeypatch.setenv("ATOKEN_MAX_KEPT_PIXELS", "6400")
    with pytest.raises(ValueError, match=r"at most 6,400 pixels in all frames.*got 6,528.*ATOKEN_MAX_KEPT_PIXELS"):
        read_views(write(folder, *[{"file_path": "a.png"}] * 1000))


def test_json_of_extreme_depth_and_size(folder, monkeypatch):
    (folder / "transforms.json").write_text('{"frames": ' + "[" * 100_000)
    with pytest.raises(ValueError, match="is not JSON .*nested too deeply"):
        read_views(folder)
    (folder / "transforms.json").write_text('{"frames": [' + " " * 2000)
    monkeypatch.setenv("ATOKEN_MAX_JSON_BYTES", "1000")
    with pytest.raises(ValueError, match=r"its JSON must have at most 1,000 bytes, got 2,012.*ATOKEN_MAX_JSON_BYTES"):
        read_views(folder)


def test_depths_that_announce_more_than_they_hold(folder):
    with (folder / "d.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (999_999, 999_999)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(256))
    with memory_below(100), pytest.raises(ValueError, match="header announces 3,999,992,000,004 bytes.*it has 256"):
        read_views(write(folder, {"file_path": "a.png", "depth_file_path": "d.npy"}))


def test_depths_that_are_pickles(folder):
    np.save(folder / "d.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="depth_file_path: .*d.npy cannot be read"):
        read_views(write(folder, {"file_path": "a.png", "depth_file_path": "d.npy"}))
