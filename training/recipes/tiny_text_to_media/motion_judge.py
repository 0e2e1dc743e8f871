"""The training of the judge that tells how the thing in a clip moves, also of blurred clips."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from atoken.evaluation.metrics.motion_judge import MotionJudge, seen
from atoken.miniature.pictures import draw_clip
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MATERIALS, MOTIONS, Scene
from atoken.processing.atomic_files_atoken import atomic_file

from .worlds import FRAMES, JUDGED, SIZE

_BATCH = 64
_RATE = 2e-3


def judged_scene(index: int) -> Scene:
    """Gives a scene that a judge learns of: any color, shape and material, motions in turn."""
    rng = np.random.default_rng((JUDGED, index))
    color, shape, material = (words[rng.integers(len(words))] for words in (tuple(COLOURS), FLAT_SHAPES, MATERIALS))
    return Scene("video", color, shape, material, MOTIONS[index % len(MOTIONS)], None, int(rng.integers(2**62)))


def train_motion_judge(path: Path, clips: int, epochs: int, seed: int = 0) -> Iterator[float]:
    """
    Trains a judge on clips that no generator learns of, and writes its weights in fp16.

    Yields:
        The mean loss of each epoch.
    """
    torch.manual_seed(seed)
    judge = MotionJudge()
    pictures = torch.cat(
        [seen(torch.from_numpy(draw_clip(judged_scene(index), SIZE, FRAMES))[None]) for index in range(clips)]
    )
    motions = torch.arange(clips) % len(MOTIONS)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.05)
    steps = epochs * (clips // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(clips)[: clips // _BATCH * _BATCH].split(_BATCH):
            loss = F.cross_entropy(judge.train()(_blurred_at_times(pictures[rows])), motions[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        yield sum(losses) / len(losses)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file({name: _halved(value) for name, value in judge.state_dict().items()}, temporary)


def _blurred_at_times(frames: torch.Tensor) -> torch.Tensor:
    """Gives half of all batches as tokenizers blur them."""
    if torch.rand(()) < 0.5:
        return frames
    return F.interpolate(F.avg_pool2d(frames, 2), scale_factor=2, mode="bilinear")


def _halved(value: torch.Tensor) -> torch.Tensor:
    return value.half().contiguous() if value.is_floating_point() else value
