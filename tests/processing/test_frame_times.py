"""Times of frames: true ones where they are not even, the stated rate where they are."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.video_utils import VideoMetadata, default_sample_indices_fn

from atoken.processing import AtokenVideoProcessor
from atoken.processing.frame_times_atoken import (
    TimedVideoMetadata,
    describe_times,
    growing_times,
    sample_times,
)
from atoken.processing.media_reading_atoken import iter_video, read_video, write_video
from atoken.processing.media_warnings_atoken import MediaWarning

from .samples import smooth_clip

CODECS = {
    ".mp4": "libx264",
    ".mkv": "libx264",
    ".mov": "libx264",
    ".webm": "libvpx",
    ".ts": "libx264",
    ".avi": "mpeg4",
}
# As a screen recorder writes: a burst, a pause, two frames, a pause.
UNEVEN = [0, 33, 67, 100, 2100, 2133, 2166, 4400]


def gray(count: int) -> np.ndarray:
    """Frames (T, 64, 64, 3) whose level says which they are: 8 more each time. Noise around fills a few packets."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.repeat(noise[None], count, axis=0)
    frames[:, 16:48, 16:48] = np.arange(count, dtype=np.uint8)[:, None, None, None] * 8
    return frames


def write_at(
    path: Path,
    ticks: list[int],
    time_base: Fraction = Fraction(1, 1000),
    codec: str = "libx264",
    rate: int = 25,
    **options,
) -> None:
    """Writes gray frames at ticks of a clock with PyAV, as other programs would."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "18", **options})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = time_base
        for tick, pixels in zip(ticks, gray(len(ticks)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def levels(frames) -> list[int]:
    return np.round(np.asarray(frames)[:, 32, 32, 0] / 8).astype(int).tolist()


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 31])
@pytest.mark.parametrize("rate", [25, 30000 / 1001])
def test_even_clips_are_those_of_their_rate(tmp_path, suffix, count, rate):
    path = tmp_path / f"a{suffix}"
    write_video(path, gray(count), rate, CODECS[suffix])
    frames, metadata = read_video(path)
    assert levels(frames) == list(range(count)) and metadata.total_num_frames == count
    assert metadata.frame_times is None and metadata.fps == pytest.approx(rate, rel=1e-3)
    assert metadata.duration == pytest.approx(count / rate, abs=0.002)
    np.testing.assert_allclose(metadata.timestamps, np.arange(count) / rate, atol=0.002)
    told, moments = iter_video(path)
    assert levels(list(moments)) == list(range(count))
    assert (told.fps, told.frame_times, told.total_num_frames) == (metadata.fps, None, count)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
@pytest.mark.parametrize("count", [2, 3, 5, 31])
def test_even_animations(tmp_path, suffix, count):
    frames = [Image.fromarray(frame) for frame in gray(count)]
    options = {".webp": {"lossless": True}, ".avif": {"quality": 100}}.get(suffix, {})
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=40, loop=0, **options)
    read, metadata = read_video(tmp_path / f"a{suffix}")
    assert levels(read) == list(range(count)) and metadata.frame_times is None
    assert metadata.fps == pytest.approx(25) and metadata.duration == pytest.approx(count / 25)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_animations_keep_the_duration_of_each_frame(tmp_path, suffix):
    frames = [Image.fromarray(frame) for frame in gray(5)]
    durations = [40, 400, 40, 800, 0]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=durations)
    for metadata in (read_video(tmp_path / f"a{suffix}")[1], iter_video(tmp_path / f"a{suffix}")[0]):
        # Browsers show a frame of no duration for a tenth of a second.
        np.testing.assert_allclose(metadata.frame_times, [0, 0.04, 0.44, 0.48, 1.28], atol=1e-9)
        assert metadata.duration == pytest.approx(1.38) and metadata.fps == pytest.approx(4 / 1.28)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx")])
@pytest.mark.parametrize("start", [0, 500])
def test_uneven_times_are_those_written(tmp_path, suffix, codec, start):
    path = tmp_path / f"a{suffix}"
    write_at(path, [start + tick for tick in UNEVEN], codec=codec)
    frames, metadata = read_video(path)
    assert levels(frames) == list(range(8))
    np.testing.assert_allclose(metadata.frame_times, np.array(UNEVEN) / 1000, atol=1e-6)
    assert metadata.fps == pytest.approx(7 / 4.4) and metadata.duration >= 4.4
    assert metadata.timestamps == metadata.frame_times
    told, moments = iter_video(path)
    assert levels(list(moments)) == list(range(8)) and told.frame_times == metadata.frame_times


def test_nominal_rates_and_rounded_times(tmp_path):
    """A browser states 1000 frames a second, and its milliseconds are still 30 even frames a second."""
    write_at(tmp_path / "a.webm", [round(index * 1000 / 30) for index in range(20)], codec="libvpx", rate=1000)
    metadata = read_video(tmp_path / "a.webm")[1]
    assert metadata.fps == 30 and metadata.frame_times is None and metadata.duration == pytest.approx(20 / 30)


def test_dropped_frames_of_an_avi_leave_a_gap(tmp_path):
    write_at(tmp_path / "a.avi", [0, 1, 2, 7, 8, 9], Fraction(1, 10), "mjpeg", 10, strict="unofficial")
    frames, metadata = read_video(tmp_path / "a.avi")
    assert levels(frames) == list(range(6))
    np.testing.assert_allclose(metadata.frame_times, [0, 0.1, 0.2, 0.7, 0.8, 0.9])
    assert iter_video(tmp_path / "a.avi")[0].frame_times == metadata.frame_times


def test_a_stream_without_times_says_so(tmp_path):
    write_at(tmp_path / "a.h264", list(range(6)), Fraction(1, 25))
    for read in (lambda: read_video(tmp_path / "a.h264")[1], lambda: iter_video(tmp_path / "a.h264")[0]):
        with pytest.warns(MediaWarning, match="a.h264.*has no timestamps.*even, 25 per second"):
            metadata = read()
        assert (metadata.total_num_frames, metadata.fps, metadata.frame_times) == (6, 25, None)


def test_frames_by_time(tmp_path):
    """A frame stays on screen until the next one: at 0, 0.5, ... seconds."""
    write_at(tmp_path / "a.mp4", UNEVEN)
    batch = AtokenVideoProcessor()(tmp_path / "a.mp4", fps=2, return_metadata=True)
    (metadata,) = batch["video_metadata"]
    expected = [max(index for index, tick in enumerate(UNEVEN) if tick <= 500 * sample) for sample in range(9)]
    assert metadata.frames_indices == expected and batch.media_sizes[0, 0] == 9
    assert metadata.timestamps == pytest.approx([UNEVEN[index] / 1000 for index in expected])
    # As many frames of an array, whose times are given.
    given = {"frame_times": [tick / 1000 for tick in UNEVEN]}
    again = AtokenVideoProcessor()(gray(8), fps=2, video_metadata=given, return_metadata=True)["video_metadata"][0]
    assert again.frames_indices == expected and again.fps == pytest.approx(7 / 4.4)
    spread = AtokenVideoProcessor()(tmp_path / "a.mp4", num_frames=4, return_metadata=True)["video_metadata"][0]
    assert spread.frames_indices == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="fps must be at most that of the video, got 60"):
        AtokenVideoProcessor()(tmp_path / "a.mp4", fps=60)
    with pytest.raises(ValueError, match="frame_times of growing seconds, one for each of the 8 frames"):
        AtokenVideoProcessor()(gray(8), video_metadata={"frame_times": [0, 1]})


def test_even_clips_are_sampled_as_transformers_does():
    processor = AtokenVideoProcessor()
    for total, rate, fps in ((31, 30, 7), (100, 29.97, 2), (17, 10, 9.5)):
        metadata = TimedVideoMetadata(total, float(rate))
        expected = default_sample_indices_fn(VideoMetadata(total, float(rate)), fps=fps)
        assert np.array_equal(processor.sample_frames(metadata, fps=fps), expected)


@pytest.mark.parametrize("rate", [24000 / 1001, 23.976, 24, 25, 29.97, 30, 60000 / 1001])
def test_the_own_rate_drops_no_frame(rate):
    processor = AtokenVideoProcessor()
    for total in range(1, 400):
        metadata = TimedVideoMetadata(total, float(rate))
        assert len(processor.sample_frames(metadata, fps=float(rate))) == total
        assert len(processor.sample_frames(metadata, fps=rate / 2)) == max(1, total // 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_written_times_are_read_again(tmp_path, suffix):
    times = [tick / 1000 for tick in UNEVEN]
    write_video(tmp_path / f"a{suffix}", gray(8), 2, times=[*times, 5.0])
    frames, metadata = read_video(tmp_path / f"a{suffix}")
    assert levels(frames) == list(range(8))
    np.testing.assert_allclose(metadata.frame_times, times, atol=0.001)
    assert metadata.duration == pytest.approx(5, abs=0.002)


@pytest.mark.parametrize(
    ("times", "says"),
    [([0, 1], "got 2 for more than 2 frames"), ([0, 1, 2, 3, 4, 5], "got 6 for 4 frames"), ([0, 2, 1, 3], "growing")],
)
def test_times_that_do_not_fit(tmp_path, times, says):
    with pytest.raises(ValueError, match=f"times must be .*{says}"):
        write_video(tmp_path / "a.mp4", iter(gray(4)), 2, times=times)
    assert list(tmp_path.iterdir()) == []


def test_selected_frames_take_memory_and_no_others(tmp_path):
    """Matroska has no list of frames; 3 of 120 must not need them all at once."""
    import tracemalloc

    frames = np.concatenate([smooth_clip(10, 64, 96)] * 12)
    for suffix, codec in ((".mkv", "libx264"), (".ts", "libx264"), (".webm", "libvpx")):
        write_video(tmp_path / f"a{suffix}", frames, 30, codec)
        tracemalloc.start()
        kept, _ = read_video(tmp_path / f"a{suffix}", lambda whole: range(0, whole.total_num_frames, 50))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(kept) == 3 and peak < frames.nbytes / 3


def test_metadata_are_a_mapping_as_in_transformers():
    metadata = TimedVideoMetadata(3, 2.0, frames_indices=[0, 2], frame_times=[0.0, 0.1, 1.0])
    assert metadata.timestamps == [0.0, 1.0] and VideoMetadata(**metadata).fps == 2.0
    assert metadata != VideoMetadata(**metadata) and TimedVideoMetadata(3, 2.0) == VideoMetadata(3, 2.0)


@pytest.mark.parametrize(
    ("seconds", "restarts", "times", "says"),
    [
        ([5.0, 6.0, 8.0], False, [0, 1, 3], None),
        # In the order in which they are stored, as AVI files have them.
        ([3.0, 4.0, 6.0, 5.0, 7.0], False, [0, 1, 2, 3, 4], None),
        ([0.0, 1.0, 2.0, 0.0, 1.0], False, [0, 1, 2, 3, 4], "jump 1 times"),
        ([0.0, 1.0, 95000.0, 95001.0], True, [0, 1, 2, 3], "jump 1 times"),
        ([0.0, 1.0, 60.0], False, [0, 1, 60], None),
        ([0.0, None, 2.0, None], False, [0, 1, 2, 3], "no timestamp for 2 of its 4"),
        ([None, None], False, None, "no timestamps"),
        ([4.0, 4.0, 4.0], False, None, "same timestamp"),
    ],
)
def test_times_that_no_player_could_follow(seconds, restarts, times, says):
    found, remark = growing_times(seconds, restarts)
    assert (found is None) == (times is None) and (times is None or found.tolist() == times)
    assert (remark is None) == (says is None) and (says is None or says in remark)


@pytest.mark.parametrize("rate", [23.976, 24, 25, 30000 / 1001, 50, 60, 120, 240])
def test_rounding_to_milliseconds_is_even(rate):
    times = np.round(np.arange(5000) / rate, 3)
    assert describe_times(times, None, [rate])[:2] == (rate, None)
    fps, uneven, _ = describe_times(np.delete(times, 2500), None, [rate])
    assert len(uneven) == 4999 and fps < rate


def test_slow_frames_are_repeated():
    assert sample_times([0.0, 1.0, 1.25, 4.0], 1).tolist() == [0, 1, 2, 2, 3]
    assert sample_times([0.0, 1.0, 1.25, 4.0], 4).tolist() == [0] * 4 + [1] + [2] * 11 + [3]
