"""The batches of each step of a stage: the distillation, which is in every step, and the task whose turn it is."""

import copy
import gc
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..data.batches import TrainingBatch
from ..data.task_batches import Batches, Made, Order
from .curriculum import DISTILLED, TaskRound

AHEAD = 2  # micro-batches that each worker makes ahead


class TurnBatches:
    """
    Gives the micro-batches of each step, made ahead in processes of their own.

    Args:
        batches: of every task and, if it is trained, of the distillation.
        ratios: share of each task that takes turns; without any, only the distillation is trained.
    """

    def __init__(self, batches: dict[str, Batches], ratios: dict[str, float]):
        self._batches = batches
        self._round = TaskRound(ratios) if ratios else None
        self._ahead: deque[tuple[int, dict[str, Any]]] = deque()  # micro-batches of a step, and the state behind it
        self._made: Iterator[tuple[str, Made]] | None = None
        self._state = self._planned()

    def __next__(self) -> list[TrainingBatch]:
        """
        Gives this process's micro-batches of the next step: those of the distillation, then those of the other task.

        They lie on the host, pinned where there is a CUDA device. Every process gets as many.
        """
        if self._made is None:
            self._made = self._started()
        made = [next(self._made)]
        count, self._state = self._ahead.popleft()
        made += [next(self._made) for _ in range(count - 1)]
        return [self._batches[task].count(each) for task, each in made]

    def _started(self) -> Iterator[tuple[str, Made]]:
        # A forked worker has none of this process's threads. Were it to collect a frame that was decoded here, it would
        # wait for FFmpeg's for ever. So what is garbage goes now, and a worker leaves alone whatever else is here.
        gc.collect()
        gc.freeze()
        try:
            return iter(self._loader())
        finally:
            gc.unfreeze()

    def _loader(self) -> DataLoader:
        workers = max(each.workers for each in self._batches.values())
        ahead = {"prefetch_factor": AHEAD, "multiprocessing_context": "fork"} if workers else {}
        return DataLoader(
            _ToMake(self._batches),
            sampler=self._orders(),
            batch_size=None,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_as_it_is,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # torch's own is the training's
            **ahead,
        )

    def _orders(self) -> Iterator[Order]:
        while True:
            tasks = [DISTILLED] if DISTILLED in self._batches else []
            tasks += [] if self._round is None else [next(self._round)]
            orders = [order for task in tasks for order in self._batches[task].order()]
            self._ahead.append((len(orders), self._planned()))
            yield from orders

    def _planned(self) -> dict[str, Any]:
        numbers = {task: each.number for task, each in self._batches.items()}
        return {"round": {} if self._round is None else copy.copy(self._round.state), "numbers": numbers}

    def counters(self) -> dict[str, float]:
        """Counts, for each task, the samples that could not be read and those that were too large."""
        numbers: dict[str, float] = {}
        for task, batches in self._batches.items():
            numbers[f"{task}/unreadable"] = batches.unreadable
            numbers[f"{task}/too large"] = batches.too_large
        return numbers

    def state(self) -> dict[str, Any]:
        """Gives whose turn it is, and the number of each task's next sample: the same for any number of processes."""
        return copy.deepcopy(self._state)

    def restore(self, state: dict[str, Any]) -> None:
        """
        Goes on from a `state()`, also that of another number of processes.

        Raises:
            ValueError: it is that of other tasks.
        """
        if state["numbers"].keys() != self._batches.keys():
            raise ValueError(
                f"tasks must be {', '.join(state['numbers'])}, as in the checkpoint, got {', '.join(self._batches)}; "
                "resume with the stage it was written by"
            )
        self.close()
        if self._round is not None:
            self._round.state = dict(state["round"])
        for task, batches in self._batches.items():
            batches.number = state["numbers"][task]
        self._state = copy.deepcopy(state)

    def close(self) -> None:
        """Ends the processes that work ahead."""
        self._made = None  # its workers end with it
        self._ahead.clear()


class _ToMake(Dataset):
    """Makes what an order asks for, with the task it is of."""

    def __init__(self, batches: dict[str, Batches]):
        self._batches = batches

    def __getitem__(self, order: Order) -> tuple[str, Made]:
        return order.task, self._batches[order.task].make(order)


def _as_it_is(made: tuple[str, Made]) -> tuple[str, Made]:
    return made


def _begin_worker(index: int) -> None:
    # A launcher warns all processes, but a trainer that is saving still wants its batches: only it ends its workers.
    for each in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _end_with(trainer: int) -> None:
    """Ends this process when the trainer asks for it."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
