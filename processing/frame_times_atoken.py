"""When the frames of a video are shown: as even as a frame rate says, or each at a time of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from transformers.video_utils import VideoMetadata

# Containers round times, some of them to milliseconds, and files keep that when they go into a finer container.
_ROUNDING = 0.001
# Decoders give frames in display order; where they carry the times of the order in which they are stored, no frame is
# further from its place than the longest run of reordered frames in any video standard.
_REORDERED = 16
# From here on a jump in a broadcast stream, whose clock may start again anywhere, is no pause.
_LONGEST_PAUSE = 10.0


@dataclass(eq=False)
class TimedVideoMetadata(VideoMetadata):
    """
    Holds the metadata of a video, with the times of its frames.

    As a mapping it has the entries of `VideoMetadata` and no more, so that `VideoMetadata(**metadata)` works.

    Attributes:
        fps: frames per second; of frames that are not even, their mean.
        duration: seconds from the first frame's appearance to the last one's end.
        frame_times: seconds at which each frame of the whole video appears, from 0; None where frames follow each other
            evenly, `fps` of them a second.
    """

    frame_times: list[float] | None = None

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in fields(VideoMetadata))

    def __len__(self) -> int:
        return len(fields(VideoMetadata))

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, VideoMetadata):
            return NotImplemented
        return dict(self) == dict(other) and self.frame_times == getattr(other, "frame_times", None)

    __hash__ = None

    @property
    def timestamps(self) -> list[float]:
        """Gives the seconds at which the frames that were kept appear in the video."""
        if self.frame_times is None or self.frames_indices is None:
            return super().timestamps
        return [self.frame_times[index] for index in self.frames_indices]


def describe_times(
    times: Sequence[float],
    end: float | None,
    rates: Sequence[float],
    tick: float = _ROUNDING,
    exact_end: bool = False,
) -> tuple[float | None, list[float] | None, float | None]:
    """
    Tells how a video's frames lie in time.

    Args:
        times: seconds at which the frames appear, growing, from 0.
        end: seconds at which the last one ends, None if unknown.
        rates: what the file states to be its frames per second, the most trusted rate first.
        tick: seconds to which the file rounds times.
        exact_end: whether the last frame must also last as long as all others for frames to be even; otherwise it may
            be shorter, as many files do not tell.

    Returns:
        `fps`, `frame_times` and `duration` as in `TimedVideoMetadata`.
    """
    count = len(times)
    if count == 1 and end is not None and end > 0 and not any(end <= 1.5 / rate for rate in rates[:1]):
        rates = [1 / end]
    edges = np.array([*times, end] if exact_end else times, dtype=np.float64)
    rate = _even_rate(edges, rates, tick)
    if rate is not None and (end is None or end - times[-1] <= 1.5 / rate):
        return rate, None, count / rate
    span = float(times[-1] - times[0])
    if span == 0:
        return next(iter(rates), None), None, None
    if end is None or end <= times[-1]:
        end = times[-1] + np.median(np.diff(times))
    return (count - 1) / span, [float(seconds) for seconds in times], float(end)


def _even_rate(edges: np.ndarray, rates: Sequence[float], tick: float) -> float | None:
    """The first rate that all times agree with up to rounding: of those stated, or of what the times themselves say."""
    coarse = max(tick, _ROUNDING)
    span = edges[-1] - edges[0]
    measured = (len(edges) - 1) / span if span > 0 else 0.0
    # A rate of whole frames is more likely than what rounded times say.
    candidates = [*((rate, coarse) for rate in rates), (round(measured), tick), (measured, coarse)]
    for rate, rounding in candidates:
        if rate and np.abs(edges - np.arange(len(edges)) / rate).max() <= min(rounding, 0.25 / rate) + 1e-9:
            return float(rate)
    return None


def growing_times(seconds: Sequence[float | None], restarts: bool) -> tuple[np.ndarray | None, str | None]:
    """
    Makes times of frames in display order grow from 0, as those of an intact file do anyway.

    Args:
        seconds: the time of each frame, None where the file has none.
        restarts: whether the format is one whose clock may jump (broadcast streams).

    Returns:
        The times, or None if the file has none; and what had to be assumed, None if nothing.
    """
    known = np.array([index for index, value in enumerate(seconds) if value is not None])
    if len(known) == 0:
        return None, "has no timestamps"
    times = np.array([seconds[index] for index in known], dtype=np.float64)
    if len(times) > 1 and np.ptp(times) == 0:
        return None, "has the same timestamp for every frame"
    remark = None
    if len(known) < len(seconds):
        remark = f"has no timestamp for {len(seconds) - len(known)} of its {len(seconds)} frames, which are put between"
        step = _typical(np.diff(times) / np.diff(known)) if len(known) > 1 else 0.0
        every = np.arange(len(seconds))
        times = np.interp(every, known, times) + step * (
            np.minimum(every - known[0], 0) + np.maximum(every - known[-1], 0)
        )
    steps = np.diff(times)
    if (steps < 0).any():
        order = np.argsort(times, kind="stable")
        displaced = np.abs(order - np.arange(len(times))).max()
        if displaced <= _REORDERED and len(np.unique(times)) == len(times):
            times = times[order]
            steps = np.diff(times)
    jumps = (steps < 0) | (steps > _LONGEST_PAUSE) if restarts else steps < 0
    if jumps.any():
        remark = f"has timestamps that jump {int(jumps.sum())} times; what follows a jump is taken to go on at once"
        steps[jumps] = _typical(steps[~jumps])
        times = np.concatenate([[0.0], np.cumsum(steps)])
    return times - times[0], remark


def _typical(steps: np.ndarray) -> float:
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def sample_times(frame_times: Sequence[float], fps: float) -> np.ndarray:
    """
    Gives the indices of the frames that are on screen at 0, 1 / fps, 2 / fps, ... up to the last frame's appearance.

    A frame that stays on screen for longer is repeated.

    Raises:
        ValueError: no two frames are ever as close as `fps` asks for.
    """
    times = np.asarray(frame_times, dtype=np.float64)
    steps = np.diff(times)
    shortest = steps[steps > 0].min() if (steps > 0).any() else None
    if shortest is not None and fps > 1 / max(shortest - 2 * _ROUNDING, shortest / 2):
        raise ValueError(
            f"fps must be at most that of the video, got {fps} for a video of uneven frames, which are at least "
            f"{shortest:g} seconds apart."
        )
    # A time that was rounded up must not make its frame miss the moment that it was made for.
    slack = _ROUNDING if shortest is None else min(_ROUNDING, shortest / 4)
    moments = np.arange(int((times[-1] + slack) * fps) + 1) / fps
    return np.searchsorted(times, moments + slack, side="right") - 1
