"""Conversations of training: a subject and all questions about it, in any order.

Many questions to one picture, as in LLaVA's data, teach more for each token of it: a conversation of seven takes little
more time than one of a single question.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset

from atoken.miniature.questions import Question, as_messages, ask
from atoken.mllm import AtokenLlavaProcessor

from ...mllm.collator import StoredFeatures, conversation_length
from .subjects import KINDS, Subject, subject_of

ATTRIBUTES = {"image": ("colour", "shape", "material", "position"), "video": ("colour", "shape", "material", "motion")}
# Medium -> kind of questions -> how many of them a conversation has. Open ones are about all attributes.
TURNS: dict[str, dict[str, dict[str, int]]] = {
    "open": {"image": {"open": 4, "caption": 1}},
    "all": {medium: {"open": 4, "caption": 1, "choice": 1, "yes_no": 1} for medium in ATTRIBUTES},
}
PAIRS = 4  # pairs of pictures, one after another, that a conversation is about
_SEED = 2


def questions_about(subject: Subject, turns: str, visit: int) -> list[Question]:
    """
    Asks all that there is to ask, in an order of its own for each visit.

    Args:
        subject: of training.
        turns: one of `TURNS`.
        visit: number of the conversation about this subject.
    """
    stage = tuple(TURNS).index(turns)
    rng = np.random.default_rng((_SEED, tuple(KINDS).index(subject.kind), subject.index, visit, stage))
    scene, medium = subject.scenes[0], subject.medium
    if subject.kind == "pairs":
        return [subject.question if visit % 2 == 0 else for_the_other(subject.question)]
    if subject.kind == "orders":
        asked = [ask(scene, "open", rng, "train", about) for about in ("colour", "shape", "material")]
        asked.append(subject.question)
    else:
        asked = []
        for kind, count in TURNS[turns][medium].items():
            abouts = rng.permutation(ATTRIBUTES[medium])[:count].tolist()
            asked += [ask(scene, kind, rng, "train", about if kind in ("open", "choice") else None) for about in abouts]
    return [asked[place] for place in rng.permutation(len(asked))]


def for_the_other(question: Question) -> Question:
    """Asks for the other one of two pictures."""
    places = ("first", "second")
    shown, other = sorted(question.scenes, key=lambda scene: scene.shape not in question.text.split(",")[0].split())
    return replace(
        question,
        text=question.text.replace(f"the {shown.shape},", f"the {other.shape},"),
        answer=places[1 - places.index(question.answer)],
    )


def conversation(subject: Subject, questions: list[Question]) -> list[dict[str, Any]]:
    """Gives messages: the media with the first question, the others after its answer."""
    messages = as_messages(questions[0], list(subject.names))
    for question in questions[1:]:
        messages += as_messages(question, [])
    return messages


def conversations(
    counts: Mapping[str, int],
    turns: str,
    visits: Mapping[str, int],
    processor: AtokenLlavaProcessor,
    features: StoredFeatures,
) -> Dataset:
    """
    Makes the conversations of a stage, as `build_trainer` takes them.

    Args:
        counts: kind of subject -> how many of them.
        turns: one of `TURNS`.
        visits: kind of subject -> conversations about each.
        processor: of the model.
        features: of all subjects' media.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for kind, count in counts.items():
            for index in range(count):
                subject = subject_of(kind, index)
                for visit in range(visits[kind]):
                    messages = conversation(subject, questions_about(subject, turns, visit))
                    for later in range(1, PAIRS if kind == "pairs" else 1):
                        other = subject_of(kind, (index + later) % count)
                        messages += conversation(other, questions_about(other, turns, visit + later))
                    length = conversation_length(messages, processor, features)
                    yield {"messages": json.dumps(messages), "kind": subject.medium, "length": length}

    return Dataset.from_list(list(rows()))
