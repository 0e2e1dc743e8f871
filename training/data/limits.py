"""How large samples may be, and how large one of them is within that (paper, sections 3.4 and 4.1)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoken.processing.patching_atoken import PATCH_SIZE

LATENT, PATCH = PATCH_SIZE[0], PATCH_SIZE[1]  # frames and pixels of a token


@dataclass(frozen=True)
class Limits:
    """
    Says what a stage allows its samples.

    Attributes:
        image_resolution, video_resolution: (least, most) geometric mean of the sides in pixels, of media that are as
            large.
        frames: frames of a video that is reconstructed, one of them at random, multiples of 4.
        max_tokens: of one sample.
        understanding_tokens: of one frame that is understood; larger ones are made smaller.
        understanding_frames: of one video that is understood.
        max_voxels: of an object that is reconstructed, `max_tokens` by default; larger ones are passed over.
        object_voxels: of an object that is understood, others are left out at random; None keeps all.
        views: pictures of an object that its reconstruction is compared with.
    """

    image_resolution: tuple[int, int] = (64, 512)
    video_resolution: tuple[int, int] | None = None
    frames: tuple[int, ...] = (16, 20, 24, 28, 32)
    max_tokens: int = 32768
    understanding_tokens: int = 256
    understanding_frames: int = 64
    max_voxels: int | None = None
    object_voxels: int | None = None
    views: int = 2


@dataclass(frozen=True)
class Draw:
    """
    Holds how large a sample that is reconstructed shall be.

    Attributes:
        share: in [0, 1), of the range from the smallest size to the largest that its medium and the stage allow.
        frames: of a clip; shorter ones give what they have. None for other media.
    """

    share: float
    frames: int | None = None

    @classmethod
    def alone(cls, task: str, limits: Limits, rng: np.random.Generator) -> "Draw":
        """Draws for a sample that is in no planned step."""
        return cls(rng.random(), int(rng.choice(limits.frames)) if task == "video_reconstruction" else None)


def side_within(resolution: tuple[int, int], own: Any, share: Any) -> Any:
    """
    Gives the side of a medium that is not enlarged.

    Args:
        resolution: the smallest and the largest side in pixels.
        own: side of the medium as it is stored, infinite where that is not known; a number or an array.
        share: in [0, 1), of the range up to the smaller of `own` and the largest side; a number or an array.
    """
    low, high = resolution
    return np.minimum(own, low + share * np.maximum(0, np.minimum(high, own) - low))


def patches_that_fit(height: int, width: int, side: float, most: int) -> tuple[int, int]:
    """
    Gives the rows and columns of patches of a picture that keeps its aspect ratio.

    Args:
        height, width: of the picture.
        side: geometric mean of the new sides in pixels.
        most: patches at most.
    """
    side = min(side, PATCH * math.sqrt(most))
    rows = max(1, round(side * math.sqrt(height / width) / PATCH))
    columns = max(1, round(side * math.sqrt(width / height) / PATCH))
    if rows * columns > most:
        # Rounding went up in both; the longer side gives way.
        rows, columns = (most // columns, columns) if rows > columns else (rows, most // rows)
    return max(1, rows), max(1, columns)
