import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing import media_writing_atoken
from atoken.processing.media_reading_atoken import open_image, read_video, write_image, write_video

from .samples import clip, photo, smooth_clip, write_rotated_mp4


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_lossless_images_round_trip(tmp_path, suffix, kind):
    array = photo(7, 9)
    write_image(tmp_path / f"a{suffix}", kind(array))
    assert np.array_equal(open_image(tmp_path / f"a{suffix}").permute(1, 2, 0), array)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_jpeg_keeps_full_chroma(tmp_path):
    array = smooth_clip(1, 32, 48)[0]
    write_image(tmp_path / "a.jpg", array)
    assert np.abs(open_image(tmp_path / "a.jpg").permute(1, 2, 0).numpy().astype(int) - array).mean() < 2


@pytest.mark.parametrize("size", [(12, 32, 48), (3, 33, 47), (1, 16, 16), (5, 1, 2)])
def test_rgb_video_round_trips_exactly(tmp_path, size):
    frames = clip(*size)
    write_video(tmp_path / "a.mp4", frames, fps=24, codec="libx264rgb", crf=0)
    read, metadata = read_video(tmp_path / "a.mp4")
    assert read.dtype == torch.uint8 and np.array_equal(read, frames)
    assert (metadata.total_num_frames, metadata.fps) == (size[0], 24)
    assert (metadata.height, metadata.width) == size[1:]
    assert metadata.frames_indices == list(range(size[0])) and metadata.video_backend == "pyav"
    assert metadata.duration == pytest.approx(size[0] / 24, abs=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("size", [(32, 48), (31, 45), (32, 45)])
def test_video_colors_and_size_survive(tmp_path, suffix, size):
    frames = smooth_clip(8, *size)
    write_video(tmp_path / f"a{suffix}", torch.from_numpy(frames), fps=29.97, crf=4)
    read, metadata = read_video(tmp_path / f"a{suffix}")
    assert read.shape == frames.shape and metadata.fps == pytest.approx(29.97, rel=1e-4)
    # Whole chroma leaves rounding errors only; halved chroma also mixes colors at the borders of blocks.
    limit = 2 if size[0] % 2 or size[1] % 2 else 12
    assert np.abs(read.numpy().astype(int) - frames).mean() < limit


def test_fractional_and_slow_rates(tmp_path):
    for fps in (30000 / 1001, 12.5, 1, 0.5, 120):
        write_video(tmp_path / "a.mp4", smooth_clip(3), fps=fps)
        assert read_video(tmp_path / "a.mp4")[1].fps == pytest.approx(fps, rel=1e-4)


def test_webm_with_hidden_frames(tmp_path):
    frames = smooth_clip(20)
    write_video(tmp_path / "a.webm", frames, fps=10, codec="libvpx", crf=10)
    read, metadata = read_video(tmp_path / "a.webm", select=lambda whole: range(0, whole.total_num_frames, 5))
    assert metadata.total_num_frames == 20 and metadata.frames_indices == [0, 5, 10, 15] and len(read) == 4


def test_selected_frames_are_those_of_the_whole_video(tmp_path):
    frames = clip(13, 16, 16)
    write_video(tmp_path / "a.mp4", frames, fps=10, codec="libx264rgb", crf=0)
    read, metadata = read_video(tmp_path / "a.mp4", select=lambda whole: [0, 4, 12, 12])
    assert np.array_equal(read, frames[[0, 4, 12, 12]])
    assert metadata.total_num_frames == 13 and metadata.frames_indices == [0, 4, 12, 12]


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotation_of_the_file_is_applied(tmp_path, degrees):
    frames = clip(3, 16, 32)
    write_rotated_mp4(tmp_path / "a.mp4", frames, degrees)
    read, metadata = read_video(tmp_path / "a.mp4")
    assert np.array_equal(read, np.rot90(frames, degrees // 90, axes=(1, 2)))
    assert (metadata.height, metadata.width) == read.shape[1:3]


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_animated_pictures(tmp_path, suffix, options):
    frames = [Image.fromarray(np.full((9, 11, 3), level, np.uint8)) for level in (0, 51, 102, 255)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, **options)
    read, metadata = read_video(path)
    assert read[:, 0, 0, 0].tolist() == [0, 51, 102, 255] and read.shape == (4, 9, 11, 3)
    assert metadata.fps == pytest.approx(25) and metadata.duration == pytest.approx(0.16)
    assert metadata.video_backend == "pillow" and metadata.total_num_frames == 4


def test_transparent_animation_is_composited_on_white(tmp_path):
    frames = [Image.new("RGBA", (4, 4), (200, 0, 0, alpha)) for alpha in (0, 255)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    read, _ = read_video(tmp_path / "a.webp")
    assert read[0].unique().tolist() == [255] and read[1, 0, 0].tolist() == [200, 0, 0]


def test_nothing_is_left_behind_and_nothing_overwritten_when_writing_fails(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"before")
    (tmp_path / "a.png").write_bytes(b"before")

    def fail(*arguments, **options):
        arguments[1].write_bytes(b"half")
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(media_writing_atoken, "_encode", fail)
    with pytest.raises(RuntimeError, match="disk"):
        write_video(tmp_path / "a.mp4", clip(2, 16, 16), fps=10)
    monkeypatch.setattr(Image.Image, "save", lambda image, path, **options: fail(image, path))
    with pytest.raises(RuntimeError, match="disk"):
        write_image(tmp_path / "a.png", photo(4, 4))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.mp4": b"before", "a.png": b"before"}


def test_written_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_image(tmp_path / "a.png", photo(4, 4))
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_pyav_is_optional(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.mp4").write_bytes(b"x" * 100)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "atoken\[video\]"'):
        read_video(tmp_path / "a.mp4")
    with pytest.raises(ImportError, match=r'pip install "atoken\[video\]"'):
        write_video(tmp_path / "b.mp4", clip(2, 16, 16), fps=10)
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert len(read_video(tmp_path / "a.gif")[0]) == 2
