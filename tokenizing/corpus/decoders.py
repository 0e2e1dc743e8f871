"""Decoding ahead of the model, in threads or in processes, in order and in bounded memory."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext

import torch

from .decoding import DecodedRow, decode_row, listening
from .options import TokenizeOptions
from .sources import SourceRow

_THREADS = 2
_AHEAD = 8  # rows that wait for the model, of each thread or process
_AHEAD_OF_VIDEO = 2


class Decoders:
    """
    Decodes rows ahead of whoever takes them.

    Args:
        processes: how many decode; 0 decodes in threads of this process, which suits a CPU, where the model takes the
            cores.
    """

    def __init__(self, processes: int = 0):
        self.processes, self.workers = processes, processes or _THREADS
        self._executor: Executor | None = None

    def __enter__(self) -> "Decoders":
        if self.processes:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.processes, context, initializer=_begin)
        else:
            self._executor = ThreadPoolExecutor(self.workers)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def decode(
        self, rows: Iterable[SourceRow], options: TokenizeOptions, patch: tuple[int, int, int]
    ) -> Iterator[DecodedRow]:
        """Yields rows decoded, in their order."""
        ahead = self.workers * (_AHEAD if options.kind == "image" else _AHEAD_OF_VIDEO)
        waiting: deque[Future[DecodedRow]] = deque()
        # Processes listen by themselves.
        with nullcontext() if self.processes else listening():
            try:
                for row in rows:
                    waiting.append(self._executor.submit(decode_row, row, options, patch))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def _begin() -> None:
    """Sets a decoding process up."""
    torch.set_num_threads(1)
    end_with_parent()
    listening().__enter__()


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, however that was."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
