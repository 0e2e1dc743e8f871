"""The judge: a small network that tells color and shape of pictures of scenes, also of blurred ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from atoken.miniature.scenes import COLOURS, FLAT_SHAPES
from atoken.processing.atomic_files_atoken import atomic_file

from .scenes import draw_scenes, label_of

JUDGE = Path(__file__).with_name("judge.safetensors")  # the released one
WIDTH = 128  # of its features
_BATCH = 64
_RATE = 2e-3


class SceneJudge(nn.Module):
    """Gives features of pictures, and of these how likely each color and each shape is."""

    def __init__(self):
        super().__init__()
        widths = (3, 24, 48, 96, WIDTH)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                    nn.Conv2d(after, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                )
                for before, after in zip(widths, widths[1:], strict=False)
            )
        )
        self.colors, self.shapes = nn.Linear(WIDTH, len(COLOURS)), nn.Linear(WIDTH, len(FLAT_SHAPES))

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) uint8 or fp32 in [0, 255] -> (B, 128)."""
        # The brightest of all places: a scene has one thing, and it may be anywhere.
        return self.layers(pictures.float() / 127.5 - 1).amax((2, 3))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, 64, 64) as of `features` -> logits (B, 8) of colors and (B, 8) of shapes."""
        features = self.features(pictures)
        return self.colors(features), self.shapes(features)

    @torch.no_grad()
    def judged(self, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(N, 3, 64, 64) uint8 -> features (N, 128), and the most likely color and shape, (N,) each."""
        self.eval()
        features = torch.cat([self.features(batch) for batch in torch.from_numpy(pictures).split(_BATCH)])
        return features, self.colors(features).argmax(1), self.shapes(features).argmax(1)


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


def load_judge(path: Path) -> SceneJudge:
    """Reads a judge's weights."""
    judge = SceneJudge()
    judge.load_state_dict(load_file(path))
    return judge.eval()


def _varied(pictures: torch.Tensor) -> torch.Tensor:
    """Gives pictures, or their mirror images, or either blurred, as tokenizers blur: color and shape stay."""
    mirrored, blurred = (torch.rand(2) < 0.5).tolist()
    pictures = pictures.flip(-1).float() if mirrored else pictures.float()
    return F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear") if blurred else pictures


def _halved(value: torch.Tensor) -> torch.Tensor:
    return value.half().contiguous() if value.is_floating_point() else value
