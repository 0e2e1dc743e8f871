"""Which frames of a video are trained on: frames at a stride from a random place, or one frame a second."""

from collections.abc import Sequence

import numpy as np

from atoken.tokenizing.clips import Select

# Strides of frames (paper, section 4.1): short ones teach consistency, long ones diversity.
CONSISTENCY, DIVERSITY = (1, 3), (4, 12)


def strided(count: int, rng: np.random.Generator) -> Select:
    """
    Selects `count` frames at a stride of 1 to 3 or, as often, of 4 to 12 where the video is long enough, from a random
    place.

    Where it is shorter, frames are as far apart as they can be, and a video of fewer frames than `count` is refused.
    """

    def select(total: int, fps: float) -> Sequence[int]:
        if total < count:
            raise ValueError(f"video must have at least {count} frames, got {total}")
        low, high = CONSISTENCY if rng.random() < 0.5 else DIVERSITY
        stride = min(int(rng.integers(low, high + 1)), (total - 1) // max(count - 1, 1))
        start = int(rng.integers(0, total - (count - 1) * stride))
        return range(start, start + count * stride, stride)

    return select


def each_second(most: int) -> Select:
    """Selects one frame a second; of a video longer than `most` seconds, `most` frames evenly over all of it."""

    def select(total: int, fps: float) -> Sequence[int]:
        step = max(fps, total / most, 1.0)
        if total < step:
            return [total // 2]
        return [min(int((i + 0.5) * step), total - 1) for i in range(int(total / step))]

    return select
