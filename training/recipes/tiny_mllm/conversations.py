"""Conversations of training: a subject and all questions about it, in any order.

Many questions to one picture, as in LLaVA's data, teach more for each token of it. In one order the picture alone tells
the answer, in another an earlier answer does, so that choices and statements are learned from words first.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from datasets import Dataset

from atoken.mllm import AtokenLlavaProcessor
from atoken.miniature.questions import Question, as_messages, ask
from atoken.training.mllm.collator import StoredFeatures, conversation_length

from .subjects import KINDS, Subject, subject_of

ATTRIBUTES = {"image": ("colour", "shape", "material", "position"), "video": ("colour", "shape", "material", "motion")}
# Kind of questions -> how many of them a conversation has, besides the open ones.
TURNS = {"open": {"caption": 1}, "all": {"caption": 1, "choice": 3, "yes_no": 3}}
_SEED = 2


def questions_about(subject: Subject, turns: str, visit: int) -> list[Question]:
    """
    Asks all that there is to ask, in an order of its own for each visit.

    Args:
        subject: of training.
        turns: one of `TURNS`.
        visit: number of the conversation about this subject.
    """
    rng = np.random.default_rng((_SEED, tuple(KINDS).index(subject.kind), subject.index, visit))
    scene, medium = subject.scenes[0], subject.medium
    if subject.kind == "pairs":
        return [subject.question]
    if subject.kind == "orders":
        asked = [ask(scene, "open", rng, "train", about) for about in ("colour", "shape", "material")]
        asked.append(subject.question)
    else:
        asked = [ask(scene, "open", rng, "train", about) for about in ATTRIBUTES[medium]]
        for kind, count in TURNS[turns].items():
            abouts = rng.permutation(ATTRIBUTES[medium])[:count] if kind == "choice" else [None] * count
            asked += [ask(scene, kind, rng, "train", about if about is None else str(about)) for about in abouts]
    return [asked[place] for place in rng.permutation(len(asked))]


def conversation(subject: Subject, questions: list[Question]) -> list[dict[str, Any]]:
    """Gives messages: the media with the first question, the others after its answer."""
    messages = as_messages(questions[0], list(subject.names))
    for question in questions[1:]:
        messages += as_messages(question, [])
    return messages


def conversations(
    counts: Mapping[str, int], turns: str, visits: int, processor: AtokenLlavaProcessor, features: StoredFeatures
) -> Dataset:
    """
    Makes the conversations of a stage, as `build_trainer` takes them.

    Args:
        counts: kind of subject -> how many of them.
        turns: one of `TURNS`.
        visits: conversations about each subject that has more than one question.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for kind, count in counts.items():
            for index in range(count):
                subject = subject_of(kind, index)
                for visit in range(1 if kind == "pairs" else visits):
                    messages = conversation(subject, questions_about(subject, turns, visit))
                    length = conversation_length(messages, processor, features)
                    yield {"messages": json.dumps(messages), "kind": subject.medium, "length": length}

    return Dataset.from_list(list(rows()))
