"""Frames of video files through PyAV: all or some of them, one after another, with their true times."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.video_utils import VideoMetadata

from .frame_times_atoken import TimedVideoMetadata, describe_times, growing_times
from .media_warnings_atoken import warn_about_media
from .size_limits_atoken import KEPT_PIXELS
from .video_frames_atoken import ShownFrames
from .video_opening_atoken import check_frame_size, import_pyav, open_stream

Select = Callable[[VideoMetadata], Sequence[int]]


def read_frames(source: Any, select: Select | None, label: str) -> tuple[torch.Tensor, TimedVideoMetadata]:
    """
    Reads frames of a video file, and decodes the others without converting or keeping them.

    Args:
        source: a path or a binary file object that can seek.
        select: given the metadata of the whole video, the indices to keep; None keeps all.
        label: what to call the file in errors.

    Returns:
        `frames` (T, H, W, 3) uint8 and their metadata.

    Raises:
        ValueError: not a video, truncated, corrupt, or with frames of several sizes.
        ImportError: PyAV is not installed.
    """
    with _errors_of(label):
        packets = read_packets(source, label)
        described, _ = packets.clock.describe(packets.ticks, packets.end)
        # What the packets promise is what is decoded, of nearly all files; of the others frames are chosen again.
        indices = _promised(select, described)
        wanted = None if select is None else set(indices or ())
        kept, ticks, end = _decode(source, wanted, packets.expected, label)
        metadata, remark = packets.clock.describe(ticks, end)
        if indices is None or (metadata.total_num_frames, metadata.fps, metadata.frame_times) != (
            described.total_num_frames,
            described.fps,
            described.frame_times,
        ):
            indices = _chosen(select, metadata)
            if not kept.keys() >= set(indices):
                kept, _, _ = _decode(source, set(indices), packets.expected, label)
    if remark is not None:
        warn_about_media(f"{label} {remark}.")
    metadata.frames_indices = indices
    metadata.height, metadata.width = kept[indices[0]].shape[:2]
    frames = np.empty((len(indices), metadata.height, metadata.width, 3), dtype=np.uint8)
    for position, index in enumerate(indices):
        frames[position] = kept[index]
    return torch.from_numpy(frames), metadata


def iter_frames(source: Any, label: str) -> tuple[TimedVideoMetadata, Iterator[np.ndarray]]:
    """
    Opens a video file to be read frame by frame; see `iter_video`.

    Where its packets do not promise even frames, it is decoded once to learn the times, without converting a frame.
    """
    with _errors_of(label):
        packets = read_packets(source, label)
        metadata, remark = packets.clock.describe(packets.ticks, packets.end)
        if metadata.frame_times is not None or remark is not None:
            _, ticks, end = _decode(source, set(), packets.expected, label)
            metadata, remark = packets.clock.describe(ticks, end)
    if remark is not None:
        warn_about_media(f"{label} {remark}.")
    return metadata, _each_frame(source, packets, metadata, label)


def _each_frame(source: Any, packets: "Packets", metadata: TimedVideoMetadata, label: str) -> Iterator[np.ndarray]:
    ticks, end = [], None
    with _errors_of(label), open_stream(source, label) as (container, stream):
        shown = ShownFrames(stream, label)
        for frame in _checked(shown.decode(container), packets.expected, label):
            ticks.append(frame.pts)
            end = _end(frame)
            yield shown.to_rgb(frame)
    if packets.clock.describe(ticks, end)[0].frame_times != metadata.frame_times:
        warn_about_media(
            f"{label} holds frames that could not be decoded: the times of the others were taken to be even, at "
            f"{metadata.fps:g} frames per second, and are not."
        )


def _promised(select: Select | None, metadata: VideoMetadata) -> list[int] | None:
    """The indices chosen from what is known before decoding; None if that is not enough to choose."""
    try:
        return _chosen(select, metadata)
    except ValueError:
        return None


def _chosen(select: Select | None, metadata: VideoMetadata) -> list[int]:
    chosen = range(metadata.total_num_frames) if select is None else select(metadata)
    return [int(index) for index in chosen]


@contextmanager
def _errors_of(label: str) -> Iterator[None]:
    av = import_pyav()
    try:
        yield
    except av.FFmpegError as error:
        raise ValueError(f"{label} is not a video, truncated or corrupt: {error.strerror or error}.") from error


@dataclass(frozen=True)
class Clock:
    """
    Holds how a container counts time.

    Attributes:
        time_base: seconds of one tick.
        rates: frames per second that it states, the most trusted first.
        restarts: whether its format is one whose clock may jump.
    """

    time_base: float
    rates: list[float]
    restarts: bool

    def describe(self, ticks: Sequence[int | None], end: int | None) -> tuple[TimedVideoMetadata, str | None]:
        """
        Gives the metadata of frames at these ticks in display order, and what had to be assumed for it.

        `end` is the tick at which the last frame ends, None if unknown.
        """
        seconds = [None if tick is None else tick * self.time_base for tick in ticks]
        times, remark = growing_times(seconds, self.restarts) if ticks else (None, None)
        if times is None:
            fps = next(iter(self.rates), None)
            metadata = TimedVideoMetadata(len(ticks), fps, duration=len(ticks) / fps if fps else None)
            remark = remark and f"{remark}; its frames are taken to be even, {f'{fps:g} per second' if fps else ''}"
        else:
            last = max(tick for tick in ticks if tick is not None)
            rest = (end - last) * self.time_base if end is not None and end > last else None
            ends = None if rest is None else times[-1] + rest
            fps, frame_times, duration = describe_times(times, ends, self.rates, self.time_base)
            metadata = TimedVideoMetadata(len(ticks), fps, duration=duration, frame_times=frame_times)
        metadata.video_backend = "pyav"
        return metadata, remark


@dataclass(frozen=True)
class Packets:
    """
    Holds what the packets of a video say, before any is decoded.

    Attributes:
        clock: how times are counted.
        ticks: when the frames of the packets appear, sorted.
        end: the tick at which the last one ends, None if unknown.
        expected: how many frames must be decoded at least, 0 where the container has no index to count them by.
    """

    clock: Clock
    ticks: list[int | None]
    end: int | None
    expected: int


def read_packets(source: Any, label: str) -> Packets:
    """
    Reads the packets of a video without decoding them.

    Raises:
        ValueError: as `open_stream`, or there are fewer packets than the container's index counts.
        av.FFmpegError: PyAV cannot read it.
    """
    with open_stream(source, label) as (container, stream):
        announced = _announced(container, stream)
        is_vp8 = stream.codec_context.name in ("vp8", "libvpx")
        received, ticks, last = 0, [], (None, None)
        for packet in container.demux(stream):
            # The packet that flushes the decoder has no timestamp and no data.
            received += packet.size > 0 or packet.dts is not None
            # A VP8 packet may hold a picture that is only there to predict others from.
            if packet.size > 0 and not packet.is_discard and not (is_vp8 and not bytes(packet)[0] & 16):
                ticks.append(packet.pts)
                if packet.pts is not None and (last[0] is None or packet.pts > last[0]):
                    last = packet.pts, packet.duration
        if received < announced:
            raise ValueError(f"{label} is truncated: it announces {announced} frames and holds {received}.")
        rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
        av = import_pyav()
        restarts = bool(container.format.flags & av.format.Flags.ts_discont.value)
        clock = Clock(float(stream.time_base or 0), rates, restarts)
        # In AVI files, two frames may share a packet, and a packet may say that nothing changes.
        expected = len(ticks) if announced and container.format.name != "avi" else 0
    if None not in ticks:
        ticks.sort()
    return Packets(clock, ticks, last[0] + last[1] if last[1] else None, expected)


def _announced(container: Any, stream: Any) -> int:
    """How many frames the index of the container lists, 0 if it has none."""
    if container.format.name == "avi" and stream.frames:
        # Its header counts ticks of the clock, also those at which no frame was recorded.
        return sum(entry.size > 0 for entry in stream.index_entries)
    return stream.frames


def _decode(
    source: Any, wanted: set[int] | None, expected: int, label: str
) -> tuple[dict[int, np.ndarray], list[int | None], int | None]:
    """The wanted frames (H, W, 3) by index, None for all of them, the ticks of every frame, and the end of the last."""
    kept, ticks, end = {}, [], None
    with open_stream(source, label) as (container, stream):
        shown = ShownFrames(stream, label)
        for index, frame in enumerate(_checked(shown.decode(container), expected, label)):
            ticks.append(frame.pts)
            end = _end(frame)
            if wanted is None or index in wanted:
                kept[index] = shown.to_rgb(frame)
                KEPT_PIXELS.check(len(kept) * kept[index].shape[0] * kept[index].shape[1], label)
    return kept, ticks, end


def _end(frame: Any) -> int | None:
    return frame.pts + frame.duration if frame.pts is not None and frame.duration else None


def _checked(frames: Iterator[Any], expected: int, label: str) -> Iterator[Any]:
    """PyAV's frames one after another, each checked, at least `expected` of them."""
    count, size = 0, None
    for count, frame in enumerate(frames, start=1):
        check_frame_size(frame.width, frame.height, label)
        if frame.is_corrupt:
            raise ValueError(f"{label} is corrupt: frame {count - 1} cannot be decoded.")
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            raise ValueError(
                f"{label} changes its size from {size[0]}x{size[1]} to {frame.width}x{frame.height} at frame "
                f"{count - 1}; expected frames of one size. Re-encode it."
            )
        yield frame
    if count == 0:
        raise ValueError(f"{label} holds no frame that can be decoded; it is truncated or corrupt.")
    if count < expected:
        raise ValueError(f"{label} is truncated or corrupt: of {expected} frames only {count} can be decoded.")
