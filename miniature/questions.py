"""Questions about scenes of the miniature world, with their answers: what a model has to see to answer, and chance."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from .captions import full_caption, with_article
from .pictures import LEAST_FRAMES
from .scenes import (
    COLOURS,
    KINDS,
    MATERIALS,
    MOTIONS,
    POSITIONS,
    SPLITS,
    Scene,
    check_choice,
    check_integer,
    is_pair_held_out,
    random_scene,
    shapes_of,
)
from .world import check_options, draw

# Attribute of a scene -> the question for it.
OPEN_QUESTIONS = {
    "colour": "What color is it?",
    "shape": "What shape is it?",
    "material": "What is its surface like?",
    "position": "Where is it?",
    "motion": "How does it move?",
}
LETTERS = ("A", "B", "C", "D")
# Kinds of questions by the medium that they are about.
QUESTION_KINDS = {
    "image": ("open", "choice", "yes_no", "caption", "two_pictures"),
    "video": ("open", "choice", "yes_no", "caption", "order"),
}
GRAY = 127  # of a picture that shows nothing


@dataclass(frozen=True)
class Question:
    """
    Holds one question.

    Attributes:
        kind: one of `QUESTION_KINDS`.
        about: the attribute asked for, such as "colour"; None of captions.
        text: the question.
        answer: the only right answer.
        chance: share of right answers by guessing among the possible ones; 0 of captions.
        scenes: what is to be seen: two pictures, or two clips that are joined; else one.
    """

    kind: str
    about: str | None
    text: str
    answer: str
    chance: float
    scenes: tuple[Scene, ...]


def ask(scene: Scene, kind: str, rng: np.random.Generator, split: str, about: str | None = None) -> Question:
    """
    Asks about a scene.

    Args:
        scene: of an image or a video.
        kind: one of `QUESTION_KINDS[scene.kind]`.
        rng: where randomness comes from: what is asked for, the wrong choices and the second scene.
        split: "train" or "held_out", from which a second scene is drawn.
        about: the attribute that "open" and "choice" ask for; by default drawn.

    Raises:
        ValueError: an unknown word, or one that does not go with the kind.
    """
    check_choice("scene.kind", scene.kind, QUESTION_KINDS)
    check_choice("kind", kind, QUESTION_KINDS[scene.kind])
    words = _words(scene)
    if kind not in ("open", "choice"):
        check_choice("about", about, (None,))
        return {"yes_no": _yes_no, "caption": _caption, "two_pictures": _two_pictures, "order": _order}[kind](
            scene, rng, split
        )
    about = _pick(rng, tuple(words)) if about is None else about
    check_choice("about", about, words)
    text, answer = OPEN_QUESTIONS[about], getattr(scene, about)
    if kind == "open":
        return Question(kind, about, text, answer, 1 / len(words[about]), (scene,))
    others = [word for word in words[about] if word != answer]
    offered = [answer, *(others[index] for index in rng.permutation(len(others))[:3])]
    offered = [offered[index] for index in rng.permutation(4)]
    listed = "\n".join(f"{letter}. {word}" for letter, word in zip(LETTERS, offered, strict=True))
    text = f"{text}\n{listed}\nAnswer with the letter."
    return Question(kind, about, text, LETTERS[offered.index(answer)], 1 / 4, (scene,))


def _words(scene: Scene) -> dict[str, tuple[str, ...]]:
    """Lists what can be asked of a scene, and the possible answers."""
    words = {"colour": tuple(COLOURS), "shape": shapes_of(scene.kind), "material": MATERIALS}
    return words | ({"position": tuple(POSITIONS)} if scene.kind == "image" else {"motion": MOTIONS})


def _yes_no(scene: Scene, rng: np.random.Generator, split: str) -> Question:
    colour, shape = scene.colour, scene.shape
    answer = _pick(rng, ("yes", "no"))
    # In training false statements do not name held-out pairs either: else these would be learned to be false always.
    free = split == "held_out"
    if answer == "no" and rng.random() < 0.5:
        wrong = (word for word in COLOURS if word != colour and (free or not is_pair_held_out(word, shape)))
        colour = _pick(rng, tuple(wrong))
    elif answer == "no":
        shapes = shapes_of(scene.kind)
        wrong = (word for word in shapes if word != shape and (free or not is_pair_held_out(colour, word)))
        shape = _pick(rng, tuple(wrong))
    return Question("yes_no", None, f"Is it {with_article(f'{colour} {shape}')}?", answer, 1 / 2, (scene,))


def _caption(scene: Scene, rng: np.random.Generator, split: str) -> Question:
    return Question("caption", None, "Describe it in a sentence.", full_caption(scene), 0.0, (scene,))


def _two_pictures(scene: Scene, rng: np.random.Generator, split: str) -> Question:
    other = scene
    while other.shape == scene.shape:
        other = random_scene(scene.kind, split, rng)
    answer = _pick(rng, ("first", "second"))
    scenes = (scene, other) if answer == "first" else (other, scene)
    return Question(
        "two_pictures", None, f"Which is the {scene.shape}, the first or the second?", answer, 1 / 2, scenes
    )


def _order(scene: Scene, rng: np.random.Generator, split: str) -> Question:
    motion = scene.motion
    while motion == scene.motion:
        motion = random_scene(scene.kind, split, rng, colour=scene.colour, shape=scene.shape).motion
    scenes = (scene, replace(scene, motion=motion))
    return Question("order", "motion", "What does it do first?", scene.motion, 1 / len(MOTIONS), scenes)


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[rng.integers(len(words))]


class MiniatureQuestions(Dataset):
    """
    Draws questions with their media; question i of a seed is the same in every process and order.

    An item has `question` (a `Question`) and `media`, a list of what it is about: uint8 RGB, pictures (3, size, size)
    or one clip (frames, 3, size, size). Kinds take turns.

    Args:
        medium: "image" or "video".
        split: "train", without any combination that is held out, or "held_out", only those of color and shape.
        length: how many questions.
        seed: at least 0.
        size: pixels of each side, at least 16.
        frames: of a clip, at least 8 with "order", whose two halves are clips, else 4.
        kinds: of questions; by default all of `QUESTION_KINDS[medium]`.
        about: the attribute that "open" and "choice" ask for; by default drawn.
        blind: whether all media are plain gray, which tells what can be answered without looking.

    Raises:
        ValueError: an argument that cannot be.
    """

    def __init__(
        self,
        medium: str,
        split: str = "train",
        length: int = 10000,
        seed: int = 0,
        size: int = 64,
        frames: int = 8,
        kinds: tuple[str, ...] | None = None,
        about: str | None = None,
        blind: bool = False,
    ):
        check_choice("medium", medium, QUESTION_KINDS)
        check_choice("split", split, SPLITS)
        check_integer("length", length, 1)
        check_integer("seed", seed, 0)
        check_options(size, frames)
        kinds = QUESTION_KINDS[medium] if kinds is None else tuple(kinds)
        if not kinds:
            raise ValueError("kinds must name at least one kind of question, got none.")
        for kind in kinds:
            check_choice("kinds", kind, QUESTION_KINDS[medium])
        if about is not None and set(kinds) - {"open", "choice"}:
            raise ValueError(f"about goes with the kinds open and choice alone, got {about!r} with {', '.join(kinds)}.")
        if "order" in kinds:
            check_integer("frames", frames, 2 * LEAST_FRAMES)
        self.medium, self.split, self.length, self.seed = medium, split, length, seed
        self.size, self.frames, self.kinds, self.about, self.blind = size, frames, kinds, about, blind

    def __len__(self) -> int:
        return self.length

    def describe(self, index: int) -> Question:
        """Gives a question without drawing its media; `IndexError` outside of the length."""
        if not 0 <= index < self.length:
            raise IndexError(f"index must be below {self.length}, the number of questions, got {index}.")
        # The last number keeps these scenes apart from those of `MiniatureWorld` with the same seed.
        stream = (self.seed, int(index), KINDS.index(self.medium), SPLITS.index(self.split), 1)
        rng = np.random.default_rng(stream)
        scene = random_scene(self.medium, self.split, rng)
        return ask(scene, self.kinds[index % len(self.kinds)], rng, self.split, self.about)

    def __getitem__(self, index: int) -> dict[str, Any]:
        question = self.describe(index)
        frames = self.frames // len(question.scenes)
        media = [draw(scene, self.size, frames) for scene in question.scenes]
        if question.kind == "order":
            media = [torch.cat(media)]
        if self.blind:
            media = [torch.full_like(medium, GRAY) for medium in media]
        return {"question": question, "media": media}


def as_messages(question: Question, media: list[Any]) -> list[dict[str, Any]]:
    """Gives a question and its answer as a conversation: the media, then the text, as chat templates take them."""
    kind = question.scenes[0].kind
    content = [{"type": kind, kind: medium} for medium in media]
    return [
        {"role": "user", "content": [*content, {"type": "text", "text": question.text}]},
        {"role": "assistant", "content": [{"type": "text", "text": question.answer}]},
    ]


def is_right(given: str, answer: str) -> bool:
    """Compares answers without regard to case and to space around them."""
    return given.strip().lower() == answer.strip().lower()


__all__ = ["OPEN_QUESTIONS", "QUESTION_KINDS", "MiniatureQuestions", "Question", "as_messages", "ask", "is_right"]
