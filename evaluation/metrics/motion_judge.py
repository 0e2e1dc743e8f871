"""A small network that tells how the thing in a clip of the miniature world moves, also of blurred clips."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from atoken.miniature.scenes import MOTIONS

SIZE, FRAMES = 64, 16  # pixels of each side and frames of the clips that it knows
SEEN_FRAMES, SIDE = 8, 32  # of a clip, every second one, at half its size
_BATCH = 64


class MotionJudge(nn.Module):
    """Sees frames as channels of one picture and gives how likely each motion is."""

    def __init__(self):
        super().__init__()
        widths = (3 * SEEN_FRAMES, 32, 48, 64)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
                )
                for before, after in zip(widths, widths[1:], strict=False)
            )
        )
        side = SIDE // 2 ** (len(widths) - 1)
        self.hidden, self.motions = nn.Linear(widths[-1] * side * side, 64), nn.Linear(64, len(MOTIONS))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 24, 32, 32) fp32 of `seen` -> logits (B, 8)."""
        return self.motions(F.relu(self.hidden(self.layers(frames).flatten(1))))

    @torch.no_grad()
    def judged(self, clips: np.ndarray) -> torch.Tensor:
        """(N, 16, 3, 64, 64) uint8 -> the most likely motion of each, (N,)."""
        batches = torch.from_numpy(clips).split(_BATCH)
        return torch.cat([self.eval()(seen(batch)).argmax(1) for batch in batches])


def seen(clips: torch.Tensor) -> torch.Tensor:
    """Gives what the judge sees of clips: (B, 16, 3, 64, 64) uint8 -> (B, 24, 32, 32) fp32 in [-1, 1]."""
    frames = clips[:, :: FRAMES // SEEN_FRAMES].flatten(1, 2).float()
    return F.avg_pool2d(frames, SIZE // SIDE) / 127.5 - 1


def load_motion_judge(path: Path) -> MotionJudge:
    """Reads a judge's weights."""
    judge = MotionJudge()
    judge.load_state_dict(load_file(path))
    return judge.eval()
