"""The batches of each step of a stage: the distillation, which is in every step, and the task whose turn it is."""

from collections.abc import Sequence
from typing import Any

from ..data.batches import Batches, TrainingBatch
from .curriculum import TaskRound

DISTILLED = "image_understanding"


class TurnBatches:
    """
    Draws the micro batches of a step.

    Args:
        batches: of the distillation and of every task.
        ratios: share of each task that takes turns; without any, only the distillation is trained.
    """

    def __init__(self, batches: dict[str, Batches], ratios: dict[str, float]):
        self._batches, self._round = batches, TaskRound(ratios) if ratios else None

    @property
    def per_step(self) -> int:
        """Counts the micro batches of a step."""
        return 1 if self._round is None else 2

    def __next__(self) -> Sequence[TrainingBatch]:
        tasks = [DISTILLED] if self._round is None else [DISTILLED, next(self._round)]
        return [next(self._batches[task]) for task in tasks]

    def counters(self) -> dict[str, float]:
        """Counts, for each task, the samples that could not be read and those that were too large."""
        numbers: dict[str, float] = {}
        for task, batches in self._batches.items():
            numbers[f"{task}/unreadable"] = batches.unreadable
            numbers[f"{task}/too large"] = batches.too_large
        return numbers

    def state(self) -> dict[str, Any]:
        """Gives whose turn it is, and how far the data are."""
        batches = {task: batches.state() for task, batches in self._batches.items()}
        return {"round": {} if self._round is None else self._round.state, "batches": batches}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        if self._round is not None:
            self._round.state = state["round"]
        for task, batches in self._batches.items():
            batches.restore(state["batches"][task])

    def close(self) -> None:
        """Ends the threads that read ahead."""
        for batches in self._batches.values():
            batches.close()
