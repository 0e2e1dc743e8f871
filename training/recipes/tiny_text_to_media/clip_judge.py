"""The training of the judge of clips' colors and shapes: the one of pictures, on frames of clips."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from atoken.miniature.pictures import LEAST_FRAMES, draw_clip
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES

from ..tiny_generators.judge import fit_judge
from .motion_judge import judged_scene
from .worlds import SIZE


def train_clip_judge(path: Path, clips: int, epochs: int, seed: int = 0) -> Iterator[float]:
    """
    Trains a judge on frames of clips that no generator learns of, and writes its weights in fp16.

    Yields:
        The mean loss of each epoch.
    """
    scenes = [judged_scene(index) for index in range(clips)]
    frames = np.concatenate([draw_clip(scene, SIZE, LEAST_FRAMES) for scene in scenes])
    colors = torch.tensor([tuple(COLOURS).index(scene.colour) for scene in scenes]).repeat_interleave(LEAST_FRAMES)
    shapes = torch.tensor([FLAT_SHAPES.index(scene.shape) for scene in scenes]).repeat_interleave(LEAST_FRAMES)
    yield from fit_judge(path, frames, colors, shapes, epochs, seed)
