"""How many held-out questions are answered right while a model learns: the curve of a training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from atoken.miniature.questions import as_messages
from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from ...mllm.collator import IGNORED, ConversationCollator
from .features import DrawnFeatures
from .held_out import MEASURES
from .time_bound import TimeBound

COUNT, SEED = 48, 7  # questions of each kind, none of which the final measurement has
BATCH = 96


def watched_rows(
    features: DrawnFeatures,
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    media: Sequence[str] = ("image", "video"),
) -> dict[str, list[dict[str, str]]]:
    """Draws and encodes the watched questions, unless that is done; name of a measure -> its conversations."""
    rows: dict[str, list[dict[str, str]]] = {}
    for measure in (each for each in MEASURES if each.medium in media):
        questions = measure.questions(COUNT, SEED)
        rows[measure.name], missing = [], []
        for index in range(COUNT):
            question = questions.describe(index)
            pictures = len(question.scenes) if measure.kind == "two_pictures" else 1
            names = [f"watched {measure.name}-{index}-{place}" for place in range(pictures)]
            rows[measure.name].append({"messages": json.dumps(as_messages(question, names))})
            if names[-1] not in features:
                drawn = questions[index]["media"]
                missing += [(name, measure.medium, pixels) for name, pixels in zip(names, drawn, strict=True)]
        features.fill(missing, model, processor)
    return rows


@torch.no_grad()
def shares_right(
    model: AtokenLlavaForConditionalGeneration, collator: ConversationCollator, rows: dict[str, list[dict[str, str]]]
) -> dict[str, float]:
    """
    Gives the share of answers that greedy generation would give right.

    An answer is so if each of its tokens, and the one that ends it, is the likeliest after those before it.
    """
    shares = {}
    for name, conversations in rows.items():
        right = 0
        for start in range(0, len(conversations), BATCH):
            batch = collator(conversations[start : start + BATCH])
            labels = batch.pop("labels")[:, 1:]
            hit = model(**batch).logits[:, :-1].argmax(-1) == labels
            right += int((hit | (labels == IGNORED)).all(1).sum())
        shares[name] = right / len(conversations)
    return shares


class Watch(TrainerCallback):
    """
    Appends to a file of JSON lines the shares of right answers, and the loss since the line before.

    Args:
        every: steps between two lines.
        clock: whose minutes are written.
    """

    def __init__(
        self,
        rows: dict[str, list[dict[str, str]]],
        collator: ConversationCollator,
        path: Path,
        every: int,
        clock: TimeBound,
    ):
        self.rows, self.collator, self.path, self.every, self.clock = rows, collator, path, every, clock
        self._losses: list[float] = []

    def on_log(self, args, state, control, logs: dict[str, Any] | None = None, **kwargs):
        """Collects losses."""
        if logs and "loss" in logs:
            self._losses.append(float(logs["loss"]))

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Asks the watched questions."""
        if state.global_step % self.every and not control.should_training_stop:
            return
        model.eval()
        shares = shares_right(model, self.collator, self.rows)
        model.train()
        loss = sum(self._losses) / len(self._losses) if self._losses else None
        self._losses = []
        line = {"step": state.global_step, "minutes": round(self.clock.passed, 2), "loss": loss, **shares}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
