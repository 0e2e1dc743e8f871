"""Videos read and written frame by frame."""

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import iter_video, read_video, write_video

from .samples import clip, photo, smooth_clip, write_rotated_mp4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_are_those_of_read_video(tmp_path, suffix):
    write_video(tmp_path / f"a{suffix}", smooth_clip(20), fps=12.5)
    whole, expected = read_video(tmp_path / f"a{suffix}")
    metadata, frames = iter_video(tmp_path / f"a{suffix}")
    assert np.array_equal(np.stack(list(frames)), whole)
    assert metadata.fps == expected.fps and metadata.total_num_frames in (0, 20)


def test_rotation_and_animations(tmp_path):
    write_rotated_mp4(tmp_path / "a.mp4", clip(4, 16, 32), 90)
    assert next(iter_video(tmp_path / "a.mp4")[1]).shape == (32, 16, 3)
    shades = [Image.fromarray(photo(8, 9, seed)) for seed in range(3)]
    shades[0].save(tmp_path / "a.webp", save_all=True, append_images=shades[1:], duration=100, lossless=True)
    metadata, frames = iter_video(tmp_path / "a.webp")
    assert np.array_equal(np.stack(list(frames)), np.stack([np.asarray(shade) for shade in shades]))
    assert metadata.fps == pytest.approx(10)


def test_damage_further_on_shows_when_it_is_reached(tmp_path):
    write_video(tmp_path / "a.mkv", smooth_clip(60), fps=10)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[:-4])
    with pytest.raises(ValueError, match="a.mkv.*truncated"):
        iter_video(tmp_path / "a.mkv")
    write_video(tmp_path / "b.mp4", clip(60), fps=10)
    data = bytearray((tmp_path / "b.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)
    (tmp_path / "b.mp4").write_bytes(data)
    _, frames = iter_video(tmp_path / "b.mp4")
    next(frames)
    with pytest.raises(ValueError, match="b.mp4"):
        list(frames)


def test_frames_are_written_as_they_come(tmp_path):
    array = clip(9)
    write_video(tmp_path / "a.mp4", (frame for frame in array), fps=10, codec="libx264rgb", crf=0)
    assert np.array_equal(read_video(tmp_path / "a.mp4")[0], array)


def test_error_of_the_source_passes_through_and_leaves_nothing(tmp_path):
    def broken():
        yield from clip(5)
        raise ValueError("the source is broken")

    with pytest.raises(ValueError, match="^the source is broken$"):
        write_video(tmp_path / "a.mp4", broken(), fps=10)
    with pytest.raises(ValueError, match=r"frames\[1\].*one size"):
        write_video(tmp_path / "a.mp4", iter([photo(8, 8), photo(8, 10)]), fps=10)
    with pytest.raises(ValueError, match="no frame"):
        write_video(tmp_path / "a.mp4", iter([]), fps=10)
    assert list(tmp_path.iterdir()) == []
