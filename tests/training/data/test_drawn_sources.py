"""Sources that training alone has; the others are tested with `atoken.tokenizing.sources`."""

import pytest
import torch

from atoken.tokenizing.sources import open_source
from atoken.training.data.drawn_sources import OPENERS, PANS_OF_A_PHOTO

from ..stage_samples import write_objects, write_photos


def test_pans_repeat_after_some(tmp_path):
    write_photos(tmp_path, 2)
    source = open_source({"source": "pans", "path": str(tmp_path)}, "video", 0, openers=OPENERS)
    assert source.length == source.size == 2 * PANS_OF_A_PHOTO
    first, again = (source.read(3)["media"] for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, source.read(5)["media"])


def test_prepared_objects_have_their_captions(tmp_path):
    files = sorted(write_objects(tmp_path).iterdir())
    source = open_source({"source": "objects", "path": str(tmp_path)}, "object", 0, openers=OPENERS)
    assert source.read(1) == {"media": files[1], "caption": "a plain red ball 1"}


def test_scenes_are_drawn_with_their_captions():
    entry = {"source": "miniature", "length": 3, "pixels": 32, "frames": 4}
    video = open_source(entry, "video", 0, openers=OPENERS).read(0)
    assert video["media"].shape == (4, 3, 32, 32) and video["caption"]


@pytest.mark.parametrize(
    "entry, kind, message",
    [
        (
            {"source": "tape"},
            "image",
            "source must be one of folder, .*pans, objects, object-shards, miniature, got 'tape'",
        ),
        (
            {"source": "objects", "path": "{empty}"},
            "image",
            "kind must be \"object\" for prepared objects, got 'image'",
        ),
        ({"source": "miniature"}, "object", "for the miniature world, got 'object'; `prepare_miniature` prepares"),
        ({"source": "pans", "path": "{empty}"}, "image", 'kind must be "video" for pans'),
    ],
)
def test_wrong_sources_are_named(entry, kind, message, tmp_path):
    entry = {key: str(tmp_path) if value == "{empty}" else value for key, value in entry.items()}
    with pytest.raises(ValueError, match=message):
        open_source(entry, kind, 0, openers=OPENERS)
