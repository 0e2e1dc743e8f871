"""The judge of clips' colors and shapes: the one of pictures, trained on frames of clips.

Things in clips are larger, smaller and further out than in pictures: the judge of pictures knows the shapes of 87 % of
true clips.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from atoken.miniature.pictures import LEAST_FRAMES, draw_clip
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES

from ..tiny_generators.judge import SceneJudge, fit_judge
from .motion_judge import judged_scene
from .worlds import SIZE

_BATCH = 64
_STEP = 2  # every second frame is seen


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


@torch.no_grad()
def judge_clips(judge: SceneJudge, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Tells color and shape of clips by the sum of the logarithms of chances over frames.

    Args:
        judge: of frames.
        clips: (N, T, 3, 64, 64) uint8.

    Returns:
        Numbers of colors and of shapes, (N,) each.
    """
    colors, shapes = [], []
    for frames in torch.from_numpy(clips[:, ::_STEP]).unbind(1):
        features = torch.cat([judge.eval().features(batch) for batch in frames.split(_BATCH)])
        colors.append(judge.colors(features).log_softmax(1))
        shapes.append(judge.shapes(features).log_softmax(1))
    return torch.stack(colors).sum(0).argmax(1), torch.stack(shapes).sum(0).argmax(1)
