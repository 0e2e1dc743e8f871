"""Data for a machine with a GPU: small pictures and clips, and as many objects as fit."""

import av
import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_writing_atoken import write_video
from atoken.training.recipes.tiny.shrink_data import TooLarge, by_turns, fill_with_objects, shrink_media, size_of


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "data/photos/train/someone").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (300, 600, 3), np.uint8)).save(tmp_path / "data/photos/train/someone/a.jpg")
    (tmp_path / "data/clips/train").mkdir(parents=True)
    write_video(tmp_path / "data/clips/train/b.mp4", rng.integers(0, 255, (70, 200, 240, 3), np.uint8), fps=25)
    for folder, count in (("objects/train", 3), ("miniature-objects", 2)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for index in range(count):
            (tmp_path / "data" / folder / f"{index}.safetensors").write_bytes(bytes(100_000))
    return tmp_path / "data"


def test_media_become_small_once(data, tmp_path):
    out = tmp_path / "small"
    shrink_media(data, out)
    with Image.open(out / "photos/train/someone/a.jpg") as photo:
        assert photo.size == (512, 256)
    with av.open(str(out / "clips/train/b.mp4")) as clip:
        assert (clip.streams.video[0].width, clip.streams.video[0].height) == (192, 160)
        assert sum(1 for _ in clip.decode(video=0)) == 64
    (out / "photos/train/someone/a.jpg").write_bytes(b"mine")
    shrink_media(data, out)
    assert (out / "photos/train/someone/a.jpg").read_bytes() == b"mine"


def test_objects_fill_what_is_left_by_turns(data, tmp_path):
    out = tmp_path / "small"
    (out / "photos").mkdir(parents=True)
    (out / "photos/a.jpg").write_bytes(bytes(50_000))
    assert fill_with_objects(data, out, 380_000) == 3 and size_of(out) == 350_000
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.safetensors"))
    assert names == ["miniature-objects/0.safetensors", "objects/train/0.safetensors", "objects/train/1.safetensors"]
    with pytest.raises(TooLarge, match="megabytes must be at least 0 for pictures and clips, got 0"):
        fill_with_objects(data, out, 10_000)


def test_turns_go_on_when_a_list_has_ended():
    assert list(by_turns([[1, 2, 3], [4]])) == [1, 4, 2, 3]
