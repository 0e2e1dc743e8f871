"""What the conversations of training are about: pictures, pairs of them, clips, and clips joined of two."""

from dataclasses import dataclass

import numpy as np
import torch

from atoken.miniature.questions import Question, ask
from atoken.miniature.scenes import Scene, random_scene
from atoken.miniature.world import draw

from .parts import FRAMES, SIZE

# Kind of subject -> its medium and, where it is made for one question, the kind of that.
KINDS = {
    "pictures": ("image", None),
    "pairs": ("image", "two_pictures"),
    "clips": ("video", None),
    "orders": ("video", "order"),
}
_SEED = 1  # keeps the scenes apart from those of `MiniatureQuestions`


@dataclass(frozen=True)
class Subject:
    """
    Holds what a conversation is about.

    Attributes:
        kind: one of `KINDS`.
        index: its number.
        scenes: one, or the two of a pair or of a joined clip.
        question: that a pair or a joined clip was made for, else None.
    """

    kind: str
    index: int
    scenes: tuple[Scene, ...]
    question: Question | None

    @property
    def medium(self) -> str:
        """Gives "image" or "video"."""
        return KINDS[self.kind][0]

    @property
    def names(self) -> tuple[str, ...]:
        """Names its media."""
        count = len(self.scenes) if self.medium == "image" else 1
        return tuple(f"{self.kind}-{self.index}-{place}" for place in range(count))

    def draw(self) -> list[torch.Tensor]:
        """Draws its media: uint8 RGB (3, 64, 64) of each picture, or (8, 3, 64, 64) of a clip."""
        frames = FRAMES // len(self.scenes)
        media = [draw(scene, SIZE, frames) for scene in self.scenes]
        return media if self.medium == "image" else [torch.cat(media)]


def subject_of(kind: str, index: int) -> Subject:
    """Gives a subject of training, the same in every process."""
    medium, question_kind = KINDS[kind]
    rng = np.random.default_rng((_SEED, tuple(KINDS).index(kind), index))
    scene = random_scene(medium, "train", rng)
    if question_kind is None:
        return Subject(kind, index, (scene,), None)
    question = ask(scene, question_kind, rng, "train")
    return Subject(kind, index, question.scenes, question)
