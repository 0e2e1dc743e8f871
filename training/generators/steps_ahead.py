"""Batches that follow from a step's number, read one step ahead in a thread."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np


class StepsAhead(ABC):
    """Gives the batches of one step after the other, without end; what has to be saved of it is the step's number."""

    def __init__(self) -> None:
        self._step = 0
        self._reader = ThreadPoolExecutor(1)
        self._next: Future | None = None

    @abstractmethod
    def read(self, step: int) -> Sequence[Any]:
        """Gives this process's batches of a step, counted from 0."""

    def __next__(self) -> Sequence[Any]:
        future = self._next or self._reader.submit(self.read, self._step)
        batches = future.result()
        self._step += 1
        self._next = self._reader.submit(self.read, self._step)
        return batches

    def state(self) -> dict[str, Any]:
        """Gives the number of the next step."""
        return {"step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on with a step, on any number of processes."""
        self._step, self._next = state["step"], None

    def close(self) -> None:
        """Ends what reads ahead."""
        self._reader.shutdown(wait=True, cancel_futures=True)


class Epochs:
    """
    Orders rows anew in each epoch, and cuts them into steps.

    Args:
        rows: (R,) their numbers.
        batch_size: rows of a step; what is left of an epoch is left out.
        seed: of the order.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int):
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """Counts the steps of an epoch."""
        return len(self._rows) // self._batch_size

    def rows(self, step: int) -> np.ndarray:
        """Gives the (batch_size,) rows of a step, counted from 0."""
        epoch, place = divmod(step, len(self))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(self._rows)
        return self._order[1][place * self._batch_size : (place + 1) * self._batch_size]
