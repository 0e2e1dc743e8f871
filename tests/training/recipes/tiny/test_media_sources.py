"""The sources of the tiny curriculum against the lists of media and meshes."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from atoken.training.data.tasks import read_data
from atoken.training.recipes.tiny import media_sources
from atoken.training.recipes.tiny.collect_media import LIST, place
from atoken.training.recipes.tiny.collect_meshes import LIST as MESHES
from atoken.training.recipes.tiny.collect_meshes import model_file

FILE = Path(media_sources.__file__).with_name("sources") / "tiny.yaml"


@pytest.fixture(scope="module")
def entries():
    return read_data(FILE)


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_committed_file_is_what_the_lists_give():
    expected = media_sources.as_yaml(media_sources.sources(load(LIST), load(MESHES)))
    assert FILE.read_text(encoding="utf-8") == expected


def test_every_training_file_is_in_one_source_and_no_other_file_is(entries):
    folders = [
        entry["path"]
        for task in ("image_reconstruction", "video_reconstruction", "3d_reconstruction")
        for entry in entries[task]
        if entry["source"] != "pans"
    ]
    assert len(set(folders)) == len(folders)
    files = [(item["split"], "data/" + place(item)) for item in load(LIST)["items"]]
    files += [(item["split"], "data/objects/" + model_file(item)) for item in load(MESHES)["items"]]
    for split, file in files:
        assert sum(file.startswith(f"{folder}/") for folder in folders) == (split == "train")


def test_packages_are_drawn_by_the_root_of_their_pictures_and_four_in_five_are_photos(entries):
    train = [item for item in load(LIST)["items"] if item["split"] == "train" and item["kind"] != "clip"]
    counts = Counter("data/" + place(item).rpartition("/")[0] for item in train)
    photos = {"data/" + place(item).rpartition("/")[0] for item in train if item["kind"] == "photo"}
    sizes = {entry["path"]: entry["size"] for entry in entries["image_reconstruction"]}
    assert set(sizes) == set(counts) and sum(sizes.values()) == pytest.approx(1, abs=0.002)
    assert sum(sizes[path] for path in sizes if path not in photos) <= 0.2001
    ratios = [sizes[path] / math.sqrt(counts[path]) for path in photos]
    assert max(ratios) / min(ratios) < 1.02
    assert all(entry["keep_decoded"] for entry in entries["image_reconstruction"])


def test_pans_glide_over_photos_alone(entries):
    pans = [entry["path"] for entry in entries["video_reconstruction"] if entry["source"] == "pans"]
    assert len(pans) > 10 and not any(path.endswith(("-textures", "-generated", "-paintings")) for path in pans)
