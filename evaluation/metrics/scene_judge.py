"""A small network that tells color and shape of pictures of the miniature world, also of blurred ones."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from atoken.miniature.scenes import COLOURS, FLAT_SHAPES

WIDTH = 128  # of its features
_BATCH = 64


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


def load_judge(path: Path) -> SceneJudge:
    """Reads a judge's weights."""
    judge = SceneJudge()
    judge.load_state_dict(load_file(path))
    return judge.eval()
