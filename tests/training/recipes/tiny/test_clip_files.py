"""Stretches of clips: which frames, how large, and how near the original."""

import gzip

import av
import numpy as np
import pytest

from atoken.processing.media_writing_atoken import write_video
from atoken.training.recipes.tiny.clip_files import clip_content, clip_facts, cut_clip, save_clip


@pytest.fixture
def clip(tmp_path):
    """Writes 12 gray frames of 96 x 64 pixels, each 20 levels brighter than the one before."""
    frames = np.stack([np.full((64, 96, 3), 10 + 20 * index, np.uint8) for index in range(12)])
    write_video(tmp_path / "source.mp4", frames, fps=10, crf=4)
    return (tmp_path / "source.mp4").read_bytes()


def levels(path):
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]


def test_a_stretch_has_the_frames_asked_for_at_the_size_asked_for(clip, tmp_path):
    cut_clip(clip, tmp_path / "cut.mp4", first_frame=3, frames=5, short_side=32)
    assert clip_facts(tmp_path / "cut.mp4") == {"width": 48, "height": 32, "frames": 5, "fps": 10.0}
    assert np.allclose(levels(tmp_path / "cut.mp4"), [70, 90, 110, 130, 150], atol=3)
    cut_clip(clip, tmp_path / "again.mp4", first_frame=3, frames=5, short_side=32)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "cut.mp4").read_bytes()


def test_clips_are_never_enlarged_and_end_where_the_source_ends(clip, tmp_path):
    cut_clip(clip, tmp_path / "cut.mp4", first_frame=8, frames=100, long_side=500)
    facts = clip_facts(tmp_path / "cut.mp4")
    assert (facts["width"], facts["height"], facts["frames"]) == (96, 64, 4)


def test_a_stretch_behind_the_end_is_refused_and_leaves_nothing(clip, tmp_path):
    with pytest.raises(ValueError, match="first_frame must be before the end of the clip, got 50"):
        cut_clip(clip, tmp_path / "cut.mp4", first_frame=50, frames=5, short_side=32)
    assert not (tmp_path / "cut.mp4").exists()


def test_a_whole_clip_is_written_as_it_is_without_the_gz_around_it(clip, tmp_path):
    save_clip(clip_content(gzip.compress(clip), "a/b.mp4.gz"), tmp_path / "whole.mp4")
    assert (tmp_path / "whole.mp4").read_bytes() == clip == clip_content(clip, "a/b.mp4")
