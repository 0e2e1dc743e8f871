"""Some frames of a video file, without decoding all that lies before and behind them."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from atoken.processing import video_reading_atoken as videos
from atoken.processing.animation_reading_atoken import is_picture, iter_animation
from atoken.processing.video_frames_atoken import ShownFrames
from atoken.processing.video_opening_atoken import open_stream

if TYPE_CHECKING:
    import av

# Frames in the whole video and its frames per second (of uneven ones: their mean) -> the indices of those to read,
# ascending.
Select = Callable[[int, float], Sequence[int]]

_FPS = 25.0  # of files that do not say


def read_frames(media: Path | str | bytes, select: Select) -> torch.Tensor:
    """
    Reads the selected frames of a video or an animated picture, (T, 3, H, W) uint8, as `read_video` shows them.

    Of a video only the part that they lie in is decoded.

    Raises:
        ValueError: it is damaged, has no frames, or has not those that were selected.
        ImportError: it is a video, and PyAV is not installed.
    """
    label = f"{len(media)} bytes" if isinstance(media, bytes) else str(media)
    source = io.BytesIO(media) if isinstance(media, bytes) else Path(media)
    with _naming(label):
        is_animation = is_picture(_head(source), label)
    frames = (_of_animation if is_animation else _of_video)(source, select, label)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


@contextmanager
def _naming(label: str) -> Iterator[None]:
    try:
        yield
    except _decoding_errors() as error:
        raise ValueError(f"media must be a video that can be decoded, got {label}: {error}") from error


def _decoding_errors() -> tuple[type[Exception], ...]:
    """Gives what damaged media raise; where nobody has imported PyAV, which pictures do not need, it has not either."""
    pyav = sys.modules.get("av")
    return (ValueError,) if pyav is None else (ValueError, pyav.FFmpegError)


def _head(source: Path | io.BytesIO) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:64]
    with source.open("rb") as file:
        return file.read(64)


def _of_animation(source: Path | io.BytesIO, select: Select, label: str) -> np.ndarray:
    with _naming(label):
        metadata, moments = iter_animation(source, label)
    indices = list(select(metadata.total_num_frames, metadata.fps or _FPS))
    frames = {index: moment for index, moment in enumerate(moments) if index in set(indices)}
    return np.stack([frames[index] for index in indices])


def _of_video(source: Path | io.BytesIO, select: Select, label: str) -> np.ndarray:
    with _naming(label):
        ticks, fps = _timeline(source, label)
    if ticks is not None:
        indices = list(select(len(ticks), fps))
        with _naming(label):
            frames = _decode_at(source, [ticks[index] for index in indices], label)
        if frames is not None:
            return frames
    # The file does not tell which frame is where: decode everything.
    frames, _ = videos.read_frames(source, lambda whole: select(whole.total_num_frames, whole.fps or _FPS), label)
    return frames.numpy()


def _timeline(source: Path | io.BytesIO, label: str) -> tuple[Sequence[int] | None, float]:
    """The tick at which each frame appears, None if that is unknown before decoding, and the frames per second."""
    with open_stream(source, label) as (container, stream):
        formats = container.format.name.split(",")
        if "mp4" in formats and (ticks := _even_index(stream)) is not None:
            return ticks, float(1 / (ticks.step * stream.time_base))
        # AVI files have no times of display, which differ from those of storage if frames are predicted backwards.
        if "avi" in formats and stream.codec_context.has_b_frames:
            return None, _FPS
    packets = videos.read_packets(source, label)
    if not packets.ticks or len(set(packets.ticks)) < len(packets.ticks):
        return None, _FPS
    metadata, remark = packets.clock.describe(packets.ticks, packets.end)
    return (packets.ticks if remark is None else None), metadata.fps or _FPS


def _even_index(stream: "av.VideoStream") -> range | None:
    """The ticks of the frames, if the index in front of an MP4 file says that they are even: it need not be read on."""
    stored = [entry.timestamp for entry in stream.index_entries if entry.size > 0 and not entry.is_discard]
    steps = {after - before for before, after in zip(stored, stored[1:], strict=False)}
    if len(steps) != 1 or min(steps) <= 0 or stream.start_time is None:
        return None
    (step,) = steps
    return range(stream.start_time, stream.start_time + step * len(stored), step)


def _decode_at(source: Path | io.BytesIO, ticks: Sequence[int], label: str) -> np.ndarray | None:
    """The frames that appear at the given ticks, (T, H, W, 3) uint8; None if there are not all of them."""
    found: dict[int, np.ndarray] = {}
    wanted = set(ticks)
    with open_stream(source, label) as (container, stream):
        shown = ShownFrames(stream, label)
        if min(wanted) > (stream.start_time or 0):
            container.seek(min(wanted), stream=stream)
        for frame in shown.decode(container):
            if frame.pts is None:
                return None
            if frame.pts in wanted:
                found[frame.pts] = shown.to_rgb(frame)
            if len(found) == len(wanted) or frame.pts > max(wanted):
                break
    return np.stack([found[tick] for tick in ticks]) if len(found) == len(wanted) else None
