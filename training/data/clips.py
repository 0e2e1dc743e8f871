"""Which frames of a video are trained on: frames at a stride from a random place, or one frame a second."""

from collections.abc import Sequence

import numpy as np

from atoken.tokenizing.clips import Select

from .limits import LATENT

# Strides of frames (paper, section 4.1): short ones teach consistency, long ones diversity.
CONSISTENCY, DIVERSITY = (1, 3), (4, 12)


def strided(count: int, rng: np.random.Generator) -> Select:
    """
    Selects `count` frames at a stride of 1 to 3 or, as often, of 4 to 12 where the video is long enough, from a random
    place.

    Where it is shorter, frames are as far apart as they can be. Of a video of fewer frames than `count`, whole latent
    frames (4 frames each) are selected, or, of less than one, every frame.
    """

    def select(total: int, fps: float) -> Sequence[int]:
        chosen = count if total >= count else total // LATENT * LATENT or total
        low, high = CONSISTENCY if rng.random() < 0.5 else DIVERSITY
        stride = min(int(rng.integers(low, high + 1)), (total - 1) // max(chosen - 1, 1))
        start = int(rng.integers(0, total - (chosen - 1) * stride))
        return range(start, start + max(chosen * stride, 1), max(stride, 1))

    return select


def each_second(most: int) -> Select:
    """Selects one frame a second; of a video longer than `most` seconds, `most` frames evenly over all of it."""

    def select(total: int, fps: float) -> Sequence[int]:
        step = max(fps, total / most, 1.0)
        if total < step:
            return [total // 2]
        return [min(int((i + 0.5) * step), total - 1) for i in range(int(total / step))]

    return select
