"""The times of frames through the `atoken` command: kept where they are not even, and replaced by `--fps`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import read_video, write_video
from atoken_headers.latents import read_header

from ..cli_samples import metadata_of, rewrite, run, run_json, save_model
from ..processing.samples import smooth_clip

TIMES = [0.0, 0.033, 0.067, 0.1, 2.1, 2.133, 2.166, 4.4, 4.433]
END = 5.5


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "continuous"
    save_model(path)
    return path


@pytest.fixture
def uneven(tmp_path) -> Path:
    write_video(tmp_path / "a.mp4", smooth_clip(9), 2, times=[*TIMES, END])
    return tmp_path / "a.mp4"


def check_times(path: Path) -> None:
    frames, metadata = read_video(path)
    assert len(frames) == 9
    np.testing.assert_allclose(metadata.frame_times, TIMES, atol=0.001)
    assert metadata.duration == pytest.approx(END, abs=0.002)


def test_reconstruct_keeps_times(model, uneven, tmp_path):
    (row,) = run_json("reconstruct", uneven, "-o", tmp_path / "out", "--model", model)["results"]
    assert row["fps"] == pytest.approx(8 / 4.433)
    check_times(tmp_path / "out" / "a.mp4")


def test_latents_keep_times(model, uneven, tmp_path):
    run("encode", uneven, "-o", tmp_path / "out", "--model", model)
    header = read_header(tmp_path / "out" / "a.safetensors")
    np.testing.assert_allclose(header.times, [*TIMES, END], atol=0.001)
    assert "not even, 5.5 seconds" in run("info", tmp_path / "out" / "a.safetensors").stdout
    run("decode", tmp_path / "out" / "a.safetensors", "-o", tmp_path / "back")
    check_times(tmp_path / "back" / "a.mp4")
    run("decode", tmp_path / "out" / "a.safetensors", "-o", tmp_path / "even", "--fps", 10)
    metadata = read_video(tmp_path / "even" / "a.mp4")[1]
    assert (metadata.fps, metadata.frame_times) == (10, None)


@pytest.mark.parametrize("times", ["0,1,2", "0,5,3,6,7,8,9,10,11,12", "0,one"])
def test_damaged_times_are_named(model, uneven, tmp_path, times):
    file = tmp_path / "out" / "a.safetensors"
    run("encode", uneven, "-o", file.parent, "--model", model)
    rewrite(file, times=times)
    assert "times must be" in run("decode", file, "-o", tmp_path / "back", code=1).stderr


def test_even_clips_state_no_times(model, tmp_path):
    write_video(tmp_path / "b.mkv", smooth_clip(9), 29.97)
    run("encode", tmp_path / "b.mkv", "-o", tmp_path / "out", "--model", model)
    assert "times" not in metadata_of(tmp_path / "out" / "b.safetensors")


def test_a_given_rate_replaces_that_of_the_source(model, uneven, tmp_path):
    run("reconstruct", uneven, "-o", tmp_path / "out", "--model", model, "--fps", 8)
    metadata = read_video(tmp_path / "out" / "a.mp4")[1]
    assert (metadata.fps, metadata.frame_times, metadata.total_num_frames) == (8, None, 9)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_animations_keep_durations(model, tmp_path, suffix):
    frames = [Image.fromarray(frame) for frame in smooth_clip(4)]
    durations = [40, 400, 40, 800]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=durations)
    run("reconstruct", tmp_path / f"a{suffix}", "-o", tmp_path / "out", "--model", model)
    metadata = read_video(tmp_path / "out" / "a.mp4")[1]
    np.testing.assert_allclose(metadata.frame_times, [0, 0.04, 0.44, 0.48], atol=0.001)
    assert metadata.duration == pytest.approx(1.28, abs=0.002)
