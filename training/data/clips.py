"""Pieces of videos for training: frames at a stride from a random place, or one frame a second."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch

from atoken.processing.media_reading_atoken import upright

# Strides of frames (paper, section 4.1): short ones teach consistency, long ones diversity.
CONSISTENCY, DIVERSITY = (1, 3), (4, 12)

# Frames in the whole video and its frames per second -> the indices wanted, ascending.
Select = Callable[[int, float], Sequence[int]]


def strided(count: int, rng: np.random.Generator) -> Select:
    """
    `count` frames at a stride of 1 to 3 or, as often, of 4 to 12 where the video is long enough, from a random place.

    Where it is shorter, frames are as far apart as they can be, and a video of fewer frames than `count` is refused.
    """

    def select(total: int, fps: float) -> Sequence[int]:
        if total < count:
            raise ValueError(f"the video has {total} frames; {count} are wanted")
        low, high = CONSISTENCY if rng.random() < 0.5 else DIVERSITY
        stride = min(int(rng.integers(low, high + 1)), (total - 1) // max(count - 1, 1))
        start = int(rng.integers(0, total - (count - 1) * stride))
        return range(start, start + count * stride, stride)

    return select


def each_second(most: int) -> Select:
    """One frame a second; of a video that is longer than `most` seconds, `most` frames evenly over all of it."""

    def select(total: int, fps: float) -> Sequence[int]:
        step = max(fps, total / most, 1.0)
        if total < step:
            return [total // 2]
        return [min(int((i + 0.5) * step), total - 1) for i in range(int(total / step))]

    return select


def read_frames(media: Path | str | bytes, select: Select) -> torch.Tensor:
    """
    The selected frames of a file, (T, 3, H, W) uint8. Only the part of the file that they lie in is decoded.

    Raises:
        ValueError: it is damaged, has no frames, or has not those that were wanted.
    """
    try:
        total, fps = _length(media)
        wanted = list(select(total, fps)) if total else []
        frames = _decode_from(media, wanted, fps) if wanted else {}
        if len(frames) < len(set(wanted)) or not wanted:
            # The header counts wrongly or has no times: decode everything, and choose when the number is known.
            frames = _decode_all(media)
            wanted = list(select(len(frames), fps))
    except av.FFmpegError as error:
        raise ValueError(f"the video cannot be decoded: {error}") from error
    return torch.from_numpy(np.stack([frames[index] for index in wanted])).permute(0, 3, 1, 2)


def _open(media: Path | str | bytes) -> av.container.InputContainer:
    return av.open(io.BytesIO(media) if isinstance(media, bytes) else str(media))


def _length(media: Path | str | bytes) -> tuple[int, float]:
    """Frames as the header announces them, 0 if it does not, and frames per second."""
    with _open(media) as container:
        if not container.streams.video:
            raise ValueError("the file has no video in it")
        stream = container.streams.video[0]
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        if stream.frames:
            return stream.frames, fps
        return (int(container.duration / 1e6 * fps) if container.duration else 0), fps


def _decode_from(media: Path | str | bytes, wanted: list[int], fps: float) -> dict[int, np.ndarray]:
    """The wanted frames by index, as far as their times tell which they are."""
    found: dict[int, np.ndarray] = {}
    left = set(wanted)
    with _open(media) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first = stream.start_time or 0
        if min(left):
            container.seek(first + int(min(left) / fps / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                return {}
            index = round(float((frame.pts - first) * stream.time_base) * fps)
            if index in left:
                found[index] = upright(frame)
                left.discard(index)
            if not left or index > wanted[-1]:
                break
    return found


def _decode_all(media: Path | str | bytes) -> dict[int, np.ndarray]:
    with _open(media) as container:
        return {i: upright(frame) for i, frame in enumerate(container.decode(container.streams.video[0]))}
