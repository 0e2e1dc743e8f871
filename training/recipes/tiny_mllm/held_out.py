"""What the tiny model is measured by: questions about held-out scenes, by kind."""

from dataclasses import dataclass

from atoken.miniature.questions import MiniatureQuestions

from .parts import FRAMES, SIZE

SEED = 0  # of the questions that are measured by


@dataclass(frozen=True)
class Measure:
    """
    Names questions of one kind.

    Attributes:
        name: for people and records.
        medium: "image" or "video".
        kind: one of `QUESTION_KINDS[medium]`.
        about: the attribute that open questions ask for, else None.
    """

    name: str
    medium: str
    kind: str
    about: str | None = None

    def questions(self, count: int, seed: int = SEED, blind: bool = False) -> MiniatureQuestions:
        """Gives questions about held-out scenes; `blind` shows plain gray."""
        return MiniatureQuestions(self.medium, "held_out", count, seed, SIZE, FRAMES, (self.kind,), self.about, blind)


MEASURES = (
    Measure("image, color", "image", "open", "colour"),
    Measure("image, shape", "image", "open", "shape"),
    Measure("image, material", "image", "open", "material"),
    Measure("image, position", "image", "open", "position"),
    Measure("image, choice", "image", "choice"),
    Measure("image, yes or no", "image", "yes_no"),
    Measure("image, caption", "image", "caption"),
    Measure("two pictures", "image", "two_pictures"),
    Measure("video, color", "video", "open", "colour"),
    Measure("video, shape", "video", "open", "shape"),
    Measure("video, material", "video", "open", "material"),
    Measure("video, motion", "video", "open", "motion"),
    Measure("video, choice", "video", "choice"),
    Measure("video, yes or no", "video", "yes_no"),
    Measure("video, caption", "video", "caption"),
    Measure("order in time", "video", "order"),
)
