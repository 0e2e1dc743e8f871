"""The training of the judge that tells color and shape of pictures of scenes, also of blurred ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from atoken.evaluation.metrics.scene_judge import SceneJudge
from atoken.miniature.scenes import FLAT_SHAPES
from atoken.processing.atomic_files_atoken import atomic_file

from .scenes import draw_scenes, label_of

_BATCH = 64
_RATE = 2e-3


def train_judge(path: Path, scenes: int, epochs: int, seed: int = 0) -> Iterator[float]:
    """
    Trains a judge on scenes of its own set, and writes its weights in fp16.

    Yields:
        The mean loss of each epoch.
    """
    pictures, labels = draw_scenes("judge", scenes), torch.tensor([label_of(index) for index in range(scenes)])
    yield from fit_judge(path, pictures, labels // len(FLAT_SHAPES), labels % len(FLAT_SHAPES), epochs, seed)


def fit_judge(
    path: Path, pictures: np.ndarray, colors: torch.Tensor, shapes: torch.Tensor, epochs: int, seed: int = 0
) -> Iterator[float]:
    """
    Trains a judge on pictures, and writes its weights in fp16.

    Args:
        path: of the weights.
        pictures: (N, 3, 64, 64) uint8, at least 64.
        colors, shapes: (N,) numbers of what is right.
        epochs: how often all are seen.
        seed: of everything.

    Yields:
        The mean loss of each epoch.
    """
    torch.manual_seed(seed)
    judge, seen = SceneJudge().to(memory_format=torch.channels_last), torch.from_numpy(pictures)
    count = len(seen) // _BATCH * _BATCH
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * count // _BATCH)
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(len(seen))[:count].split(_BATCH):
            found_colors, found_shapes = judge.train()(_varied(seen[rows]))
            loss = F.cross_entropy(found_colors, colors[rows]) + F.cross_entropy(found_shapes, shapes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        yield sum(losses) / len(losses)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file({name: _halved(value) for name, value in judge.state_dict().items()}, temporary)


def _varied(pictures: torch.Tensor) -> torch.Tensor:
    """Gives pictures, or their mirror images, or either blurred, as tokenizers blur: color and shape stay."""
    mirrored, blurred = (torch.rand(2) < 0.5).tolist()
    pictures = pictures.flip(-1).float() if mirrored else pictures.float()
    return F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear") if blurred else pictures


def _halved(value: torch.Tensor) -> torch.Tensor:
    return value.half().contiguous() if value.is_floating_point() else value
