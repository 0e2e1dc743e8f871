"""The networks that tell what made pictures and clips of the miniature world show, trained on true scenes.

Things in clips are larger, smaller and further out than in pictures: the judge of pictures knows the shapes of 87 % of
true clips, so clips have one of their own, which was trained on frames of clips. `training/recipes` trains all three.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .motion_judge import FRAMES, SIZE, MotionJudge, load_motion_judge
from .scene_judge import SceneJudge, load_judge

JUDGES = Path(__file__).parent / "judges"  # the released ones
PICTURES, CLIPS, MOTION = (f"{name}.safetensors" for name in ("pictures", "clips", "motion"))
_BATCH = 64
_STEP = 2  # every second frame of a clip is seen


@dataclass(frozen=True)
class SceneJudges:
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

    def judged(self, media: np.ndarray, kind: str) -> dict[str, torch.Tensor]:
        """
        Gives numbers of "color" and "shape" and, of clips, "motion", (N,) each.

        Args:
            media: (N, T, 3, 64, 64) uint8; T is 1 of pictures and 16 of clips.
            kind: "image" or "video".

        Raises:
            ValueError: media of another size or length.
        """
        expected = 1 if kind == "image" else FRAMES
        if media.shape[1] != expected or media.shape[-2:] != (SIZE, SIZE):
            frames, height, width = media.shape[1], *media.shape[-2:]
            raise ValueError(
                f"media must be of {SIZE} x {SIZE} pixels and {expected} frames for the networks that judge {kind}s of "
                f"the miniature world, got {frames} of {width} x {height}"
            )
        if kind == "image":
            _, color, shape = self.pictures.judged(media[:, 0])
            return {"color": color, "shape": shape}
        color, shape = judge_clips(self.clips, media)
        return {"color": color, "shape": shape, "motion": self.motion.judged(media)}


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


def load_scene_judges(folder: Path = JUDGES) -> SceneJudges:
    """Reads the judges of clips in a folder, by default the released ones, and the released one of pictures."""
    return SceneJudges(load_judge(JUDGES / PICTURES), load_judge(folder / CLIPS), load_motion_judge(folder / MOTION))
