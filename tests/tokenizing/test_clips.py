"""Frames of files: those that were selected, and no others."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing.media_reading_atoken import read_video, write_video
from atoken.tokenizing.clips import read_frames


def test_frames_of_a_file_are_those_asked_for(tmp_path):
    frames = np.zeros((40, 32, 32, 3), dtype=np.uint8) + (6 * np.arange(40, dtype=np.uint8))[:, None, None, None]
    path = tmp_path / "gray.mp4"
    write_video(path, frames, fps=10)
    for wanted in ([0], [5, 7, 9], [30, 39], list(range(40))):
        found = read_frames(path, lambda total, fps, wanted=wanted: wanted)
        assert found.shape == (len(wanted), 3, 32, 32)
        levels = found.float().mean((1, 2, 3))
        torch.testing.assert_close(levels, 6.0 * torch.tensor(wanted), atol=2.5, rtol=0)
        torch.testing.assert_close(read_frames(path.read_bytes(), lambda t, f, w=wanted: w), found, atol=0, rtol=0)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="media must be a video that can be decoded, got .*gray.mp4"):
        read_frames(path, lambda total, fps: [0])


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "apng"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_animated_pictures_are_videos(tmp_path, suffix, in_memory):
    """Reads them as everywhere else in the package."""
    rng = np.random.default_rng(0)
    moments = [Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)) for _ in range(6)]
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    moments[0].save(
        path, "PNG" if "png" in suffix else suffix, save_all=True, append_images=moments[1:], duration=100, **options
    )
    told = []

    def select(total, fps):
        told.append((total, fps))
        return [1, 4]

    found = read_frames(path.read_bytes() if in_memory else path, select)
    assert told == [(6, 10.0)]
    assert torch.equal(found, read_video(path)[0].permute(0, 3, 1, 2)[[1, 4]])


def test_a_damaged_animated_picture_is_named(tmp_path):
    path = tmp_path / "a.webp"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP")
    path.write_bytes(file.getvalue()[:20])
    with pytest.raises(ValueError, match="media must be a video that can be decoded, got .*a.webp"):
        read_frames(path, lambda total, fps: [0])


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx")])
def test_frames_of_uneven_clips_are_found_by_their_times(tmp_path, suffix, codec):
    """Finds frames after a pause, which a mean rate would look for elsewhere, without decoding all before them."""
    frames = np.zeros((60, 32, 32, 3), dtype=np.uint8) + (4 * np.arange(60, dtype=np.uint8))[:, None, None, None]
    times = [index / 25 + (10.0 if index >= 20 else 0.0) + (3.0 if index >= 45 else 0.0) for index in range(60)]
    path = tmp_path / f"a.{suffix}"
    write_video(path, frames, 25, codec, times=times)
    told = []

    def select(total, fps):
        told.append((total, fps))
        return [18, 21, 44, 46, 59]

    found = read_frames(path, select)
    assert told == [(60, pytest.approx(59 / times[-1]))]
    levels = found.float().mean((1, 2, 3))
    torch.testing.assert_close(levels, 4.0 * torch.tensor([18, 21, 44, 46, 59]), atol=2.5, rtol=0)
    assert torch.equal(found, read_video(path)[0].permute(0, 3, 1, 2)[[18, 21, 44, 46, 59]])


def test_what_needs_no_video_works_without_pyav(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", np.zeros((4, 32, 32, 3), np.uint8), fps=10)
    Image.new("RGB", (48, 40)).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (48, 40), "red")]
    )
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(read_frames(tmp_path / "a.gif", lambda total, fps: range(total))) == 2
    with pytest.raises(ImportError, match=r"atoken\[video\]"):
        read_frames(tmp_path / "a.mp4", lambda total, fps: range(total))
    modules = "tokenizing.corpus.decoding, atoken.evaluation.runner, atoken.training.generators.train"
    code = f"import sys; sys.modules['av'] = None; import atoken.{modules}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
