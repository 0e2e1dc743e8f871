"""The networks that judge what is generated: of pictures, of clips' colors and shapes, and of motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..tiny_generators.judge import JUDGE, SceneJudge, load_judge
from .clip_judge import judge_clips
from .motion_judge import MotionJudge, load_motion_judge

CLIP_JUDGE, MOTION_JUDGE = (f"{name}_judge.safetensors" for name in ("clip", "motion"))
RELEASED = Path(__file__).parent


@dataclass(frozen=True)
class Judges:
    """
    Tells what pictures and clips show.

    Attributes:
        pictures: tells color and shape of pictures.
        clips: tells color and shape of frames of clips.
        motion: tells how things in clips move.
    """

    pictures: SceneJudge
    clips: SceneJudge
    motion: MotionJudge

    def judged(self, pictures: np.ndarray) -> dict[str, torch.Tensor]:
        """Gives numbers of "color" and "shape" of (N, T, 3, 64, 64) uint8 and, of clips, "motion", (N,) each."""
        if pictures.shape[1] == 1:
            _, color, shape = self.pictures.judged(pictures[:, 0])
            return {"color": color, "shape": shape}
        color, shape = judge_clips(self.clips, pictures)
        return {"color": color, "shape": shape, "motion": self.motion.judged(pictures)}


def load_judges(folder: Path = RELEASED) -> Judges:
    """Reads the judges of clips in a folder, by default the released ones, and the released one of pictures."""
    return Judges(load_judge(JUDGE), load_judge(folder / CLIP_JUDGE), load_motion_judge(folder / MOTION_JUDGE))
