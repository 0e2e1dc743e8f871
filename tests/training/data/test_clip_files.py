"""Frames by torchcodec and by PyAV: the same ones; what only PyAV shows as it should be is left to it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atoken.processing.media_reading_atoken import write_video
from atoken.tokenizing.clips import read_frames
from atoken.training.data import clip_files
from atoken.training.data.clip_files import read_clip
from atoken.training.data.clips import each_second

pytest.importorskip("torchcodec")
CUP = Path(__file__).parents[3] / "examples/media/cup.mp4"


@pytest.fixture
def only_torchcodec(monkeypatch):
    monkeypatch.setattr(clip_files, "read_frames", lambda *given: pytest.fail("read by PyAV"))


def moving(path: Path, codec: str, frames: int = 60, **options) -> Path:
    tiles = np.random.default_rng(0).integers(0, 256, (6, 8, 3))
    picture = np.kron(tiles, np.ones((16, 16, 1))).astype(np.uint8)
    write_video(path, np.stack([np.roll(picture, 3 * index, 1) for index in range(frames)]), 25, codec, **options)
    return path


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264"), ("cup", "")]
)
@pytest.mark.parametrize("in_memory", [False, True])
def test_frames_are_those_of_pyav(name, codec, in_memory, tmp_path, only_torchcodec):
    path = moving(tmp_path / name, codec) if codec else CUP
    media = path.read_bytes() if in_memory else path
    for select in (lambda total, fps: range(3, total, 7), lambda total, fps: [total - 1], each_second(4)):
        assert torch.equal(read_clip(media, select), read_frames(path, select))


def test_uneven_clips_have_the_same_frames(tmp_path, only_torchcodec):
    times = [index / 25 + (10.0 if index >= 20 else 0.0) for index in range(60)]
    path = moving(tmp_path / "a.mp4", "libx264", times=times)
    assert torch.equal(read_clip(path, lambda total, fps: [18, 21, 59]), read_frames(path, lambda t, f: [18, 21, 59]))


def test_damaged_files_are_named_as_ever(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(CUP.read_bytes()[:900])
    with pytest.raises(ValueError, match="media must be a video that can be decoded, got .*a.mp4"):
        read_clip(path, lambda total, fps: [0])


@pytest.mark.parametrize(
    "changes",
    [
        {"color_transfer_characteristic": "smpte2084"},
        {"color_primaries": "bt2020"},
        {"pixel_format": "yuva420p"},
        {"pixel_aspect_ratio": 2},
        {"rotation": 90},
        {"codec": "gif"},
    ],
)
def test_what_has_to_be_converted_is_left_to_pyav(changes):
    from types import SimpleNamespace

    names = ("color_primaries", "color_space", "color_transfer_characteristic", "rotation", "pixel_aspect_ratio")
    plain = dict.fromkeys(names) | {"codec": "h264", "pixel_format": "yuv420p"}
    assert clip_files._is_plain(SimpleNamespace(**plain))
    assert not clip_files._is_plain(SimpleNamespace(**{**plain, **changes}))


def test_without_torchcodec_pyav_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_files, "VideoDecoder", None)
    assert torch.equal(read_clip(CUP, lambda t, f: [2, 4]), read_frames(CUP, lambda t, f: [2, 4]))
