"""The share of held-out questions that a model answers right, and what it costs."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from atoken.evaluation.chat_answers import answer_conversations
from atoken.miniature.questions import Question, as_messages, is_right
from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from .held_out import MEASURES, SEED, Measure

LONGEST = 16  # tokens of an answer
BATCH = 64
# What is shown: the media, or the first frame all the time, which tells how far motion is needed.
SHOWN = ("media", "first frame")


@dataclass(frozen=True)
class Answered:
    """
    Holds a question and the answer to it.

    Attributes:
        question: with the right answer.
        media: uint8 RGB arrays (H, W, 3) or (T, H, W, 3), as they were shown.
        text: the answer.
    """

    question: Question
    media: list[Any]
    text: str

    @property
    def right(self) -> bool:
        """Tells whether the answer is right."""
        return is_right(self.text, self.question.answer)


def ask_all(
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    measure: Measure,
    count: int,
    seed: int = SEED,
    shown: str = "media",
) -> list[Answered]:
    """
    Asks held-out questions through the code that lmms-eval's plugin answers with.

    Args:
        count: how many questions.
        seed: of the questions.
        shown: one of `SHOWN`.
    """
    questions = measure.questions(count, seed)
    answered: list[Answered] = []
    for start in range(0, count, BATCH):
        items = [questions[index] for index in range(start, min(start + BATCH, count))]
        media = [[_shown(medium, shown) for medium in item["media"]] for item in items]
        asked = [as_messages(item["question"], each)[:1] for item, each in zip(items, media, strict=True)]
        texts = answer_conversations(model, processor, asked, LONGEST)
        answered += [
            Answered(item["question"], each, text) for item, each, text in zip(items, media, texts, strict=True)
        ]
    return answered


def ask_blind(
    model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor, measure: Measure, count: int
) -> float:
    """Gives the share of right answers about plain gray, where a question has one answer however often it is asked."""
    questions = [measure.questions(count).describe(index) for index in range(count)]
    places = {question.text: index for index, question in reversed(list(enumerate(questions)))}
    blind = measure.questions(count, blind=True)
    given: dict[str, str] = {}
    for start in range(0, len(places), BATCH):
        indices = list(places.values())[start : start + BATCH]
        media = [[_shown(medium, "media") for medium in blind[index]["media"]] for index in indices]
        asked = [as_messages(questions[index], each)[:1] for index, each in zip(indices, media, strict=True)]
        texts = answer_conversations(model, processor, asked, LONGEST)
        given.update((questions[index].text, text) for index, text in zip(indices, texts, strict=True))
    return sum(is_right(given[question.text], question.answer) for question in questions) / count


def _shown(medium: torch.Tensor, shown: str) -> Any:
    if shown == "first frame" and medium.ndim == 4:
        medium = medium[:1].expand_as(medium)
    return medium.movedim(-3, -1).contiguous().numpy()


def share_right(answered: list[Answered]) -> float:
    """Gives the share of right answers."""
    return sum(each.right for each in answered) / len(answered)


def chance(answered: list[Answered]) -> float:
    """Gives the share that guessing among the possible answers would have right."""
    return sum(each.question.chance for each in answered) / len(answered)


def measure_all(
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    count: int,
    controls: bool = True,
    media: Sequence[str] = ("image", "video"),
) -> list[dict[str, Any]]:
    """
    Measures a model by all questions, JSON-ready.

    Args:
        count: questions of each kind.
        controls: whether to measure without seeing, too.
        media: whose questions are asked.

    Returns:
        For each measure its fields, "count", and the shares "right" and "chance"; with controls also "blind" (media
        gray), and where motion is asked for "first_frame".
    """
    lines = []
    for measure in (each for each in MEASURES if each.medium in media):
        answered = ask_all(model, processor, measure, count)
        line = asdict(measure) | {"count": count, "right": share_right(answered), "chance": chance(answered)}
        if controls:
            line["blind"] = ask_blind(model, processor, measure, count)
        if controls and (measure.kind == "order" or measure.about == "motion"):
            line["first_frame"] = share_right(ask_all(model, processor, measure, count, shown="first frame"))
        print({name: value for name, value in line.items() if name not in ("medium", "kind", "about")}, flush=True)
        lines.append(line)
    return lines


def seconds_of(model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor, count: int) -> float:
    """Gives the processor's seconds for one question about a clip, asked alone, from arrays to the answer."""
    questions = Measure("", "video", "open", "colour").questions(count)
    asked = [questions[index] for index in range(count)]
    conversations = [as_messages(item["question"], [_shown(item["media"][0], "media")])[:1] for item in asked]
    answer_conversations(model, processor, conversations[:1], LONGEST)
    begin = time.process_time()
    for each in conversations:
        answer_conversations(model, processor, [each], LONGEST)
    return (time.process_time() - begin) / count
