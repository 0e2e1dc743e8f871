"""Photos with a word each: which photos, which words, and what a list may not be."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from atoken.evaluation.set_registry import SETS
from atoken.evaluation.sets.photo_words import photo_words

from ...processing.samples import photo

COMMITTED = Path(__file__).parents[3] / "training/recipes/tiny/photo_words.json"


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photo(20, 30, seed)).save(tmp_path / name)
    return tmp_path


def _labels(folder: Path, listed: object) -> str:
    path = folder / "labels.json"
    path.write_text(json.dumps(listed), encoding="utf-8")
    return str(path)


def test_every_photo_has_its_word_and_all_words_are_classes(folder):
    labels = _labels(folder, {"cat": ["b/1.png"], "dog": ["a/2.png", "a/1.png"], "bird": []})
    found = photo_words(str(folder), labels, size=16)
    assert [(sample.name, found.class_names[sample.label]) for sample in found.samples] == [
        ("a/1.png", "dog"),
        ("a/2.png", "dog"),
        ("b/1.png", "cat"),
    ]
    assert found.class_names == ("cat", "dog", "bird") and found.kind == "image"
    assert found.protocol["count"] == 3 and found.protocol["largest_share"] == 2 / 3
    assert found.samples[0].load().shape == (1, 3, 16, 16)
    assert all(template.count("{}") == 1 for template in found.templates)
    assert len(photo_words(str(folder), labels, limit=1).samples) == 1


def test_lists_that_do_not_fit_are_named(folder):
    with pytest.raises(FileNotFoundError, match="1 photos are missing, such as .*b/7.png"):
        photo_words(str(folder), _labels(folder, {"cat": ["b/7.png"]}))
    with pytest.raises(ValueError, match="labels must have every photo once"):
        photo_words(str(folder), _labels(folder, {"cat": ["b/1.png"], "dog": ["b/1.png"]}))
    with pytest.raises(ValueError, match="labels must be words with lists of photos"):
        photo_words(str(folder), _labels(folder, ["cat"]))
    with pytest.raises(FileNotFoundError, match="photo-words: labels: there is no"):
        photo_words(str(folder), str(folder / "none.json"))


def test_the_committed_list_is_of_held_out_photos_alone():
    listed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    media = json.loads(COMMITTED.with_name("media.json").read_text(encoding="utf-8"))
    splits = {f"{item['split']}/{item['name']}.jpg" for item in media["items"] if item["split"] != "train"}
    photos = [path for paths in listed.values() for path in paths]
    assert len(listed) == 16 and len(photos) == len(set(photos)) and set(photos) <= splits
    # A constant answer must not come near three times chance.
    assert max(Counter(word for word, paths in listed.items() for _ in paths).values()) / len(photos) < 2 / 16
    assert SETS["photo-words"] is photo_words
