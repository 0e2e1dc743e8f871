"""What kind of media a file holds, by its suffix or a look inside."""

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES, media_kind

from .samples import photo


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.JPG", "image"), ("a.avif", "image"), ("a.mov", "video"), ("a.GLB", "object"), ("a.txt", None), ("a", None)],
)
def test_suffixes_tell(name, kind):
    assert media_kind(name) == kind
    assert (kind is not None) == (f".{name.rpartition('.')[2].lower()}" in MEDIA_SUFFIXES)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations_are_videos(tmp_path, suffix):
    frames = [Image.fromarray(np.roll(photo(16, 16), shift, axis=0)) for shift in (0, 3, 7)]
    frames[0].save(tmp_path / f"still.{suffix}")
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], duration=100)
    assert media_kind(tmp_path / f"still.{suffix}") == "image"
    assert media_kind(tmp_path / f"moving.{suffix}") == "video"


def test_a_damaged_picture_counts_as_an_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello")
    assert media_kind(tmp_path / "a.png") == "image"
