"""Decoding ahead of the model, in threads or in processes, in order and in bounded memory."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from atoken.processing import AtokenVoxelProcessor

from .decoding import DecodedRow, decode_row, listening
from .options import TokenizeOptions
from .sources import SourceRow

_THREADS = 2
_AHEAD = 8  # rows that wait for the model, of each thread or process
_AHEAD_OF_VIDEO = 2
_TENSORS = ("pixels", "rgb", "coords")


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
        self._stack = ExitStack()

    def __enter__(self) -> "Decoders":
        if self.processes:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.processes, context, initializer=_begin)
        else:
            # Processes listen by themselves.
            self._stack.enter_context(listening())
            self._executor = ThreadPoolExecutor(self.workers)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._stack.close()

    def decode(
        self,
        rows: Iterable[SourceRow],
        options: TokenizeOptions,
        patch: tuple[int, int, int],
        voxelizer: AtokenVoxelProcessor | None = None,
    ) -> Iterator[DecodedRow]:
        """Yields rows decoded, in their order; the arguments are those of `decode_row`."""
        ahead = self.workers * (_AHEAD if options.kind == "image" else _AHEAD_OF_VIDEO)
        decode = _decode_to_arrays if self.processes else decode_row
        waiting: deque[Future[DecodedRow]] = deque()
        try:
            for row in rows:
                waiting.append(self._executor.submit(decode, row, options, patch, voxelizer))
                if len(waiting) > ahead:
                    yield _with_tensors(waiting.popleft().result())
            while waiting:
                yield _with_tensors(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()


def _decode_to_arrays(*arguments: Any) -> DecodedRow:
    """Decodes in another process; tensors would come back as file descriptors, one by one, arrays come as bytes."""
    decoded = decode_row(*arguments)
    for name in _TENSORS:
        if getattr(decoded, name) is not None:
            setattr(decoded, name, getattr(decoded, name).numpy())
    return decoded


def _with_tensors(decoded: DecodedRow) -> DecodedRow:
    for name in _TENSORS:
        if isinstance(getattr(decoded, name), np.ndarray):
            setattr(decoded, name, torch.from_numpy(getattr(decoded, name)))
    return decoded


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
