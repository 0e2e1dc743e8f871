"""Saving while training goes on: tensors are copied to the host at once, then written, hashed and sealed."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from . import checkpoints
from .agreement import Agreement

_OPTIMIZER = "optimizer."


class CheckpointWriter:
    """
    Writes one checkpoint at a time, from all processes, in the background.

    Every process has to call `begin`, `finish` and, when all have `is_written`, `seal`, at the same steps.

    Args:
        output: folder of a run's checkpoints.
        keep: how many of them stay.
        agreement: with the other processes.
    """

    def __init__(self, output: Path, keep: int, agreement: Agreement):
        self.output, self.keep, self.agreement = output, keep, agreement
        # A group of its own, as it is used in another thread.
        self._group = Agreement().group
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._folder: Path | None = None
        self._written: Future | None = None

    @property
    def is_written(self) -> bool:
        """
        Tells whether this process's part of a checkpoint lies on the disk and waits to be sealed.

        Raises:
            OSError: it could not be written, such as for lack of space.
        """
        if self._written is None or not self._written.done():
            return False
        self._written.result()
        return True

    def begin(
        self,
        step: int,
        tensors: dict[str, torch.Tensor],
        facts: dict[str, Any],
        beside: Callable[[Path], None] | None = None,
    ) -> None:
        """
        Copies what is to be saved, and has it written; the checkpoint before is finished first.

        Args:
            tensors: of this process: shards (DTensor), or what is the same in all processes.
            facts: what else is needed to go on; JSON-ready.
            beside: writes more files into a folder, at once.
        """
        self.finish()
        folder = checkpoints.folder_for(self.output, step)
        partial = checkpoints.unfinished(folder)
        if self.agreement.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.agreement.wait()
        if beside is not None:
            beside(partial)
            self.agreement.wait()
        saved = dcp.async_save(
            tensors,
            storage_writer=FileSystemWriter(partial / checkpoints.TENSORS),
            process_group=self._group,
            no_dist=self._group is None,
        )
        self._folder = folder
        self._written = self._pool.submit(self._write_part, saved, folder, facts)

    def _write_part(self, saved: Future, folder: Path, facts: dict[str, Any]) -> None:
        saved.result()
        rank = self.agreement.rank

        def is_own(path: Path) -> bool:
            # What torch.distributed.checkpoint writes, and, by the first process, its index and all else.
            return path.name.startswith(f"__{rank}_") or (rank == 0 and not path.name.startswith(("__", "part-")))

        checkpoints.write_part(folder, rank, facts, is_own)

    def seal(self) -> None:
        """Makes the checkpoint a complete one, when all processes have written theirs."""
        if self.agreement.rank == 0 and self._folder is not None:
            checkpoints.complete(self._folder, self.agreement.processes, self.keep)
        self._folder = self._written = None

    def finish(self) -> None:
        """Waits until the checkpoint in work, if there is one, is complete in all processes."""
        if self._written is None:
            return
        error: Exception | None = None
        try:
            self._written.result()
        except Exception as caught:  # of many kinds; the other processes have to hear of it
            error = caught
        failed = self.agreement.any(error is not None)
        if error is not None:
            raise error
        if failed:
            raise OSError(f"{self._folder} could not be written by another process; its own message says why")
        self.seal()
        self.agreement.wait()

    def close(self) -> None:
        """Ends the thread that writes."""
        self._pool.shutdown(wait=True)


def named_states(
    parameters: dict[str, nn.Parameter], optimizers: list[torch.optim.Optimizer]
) -> dict[str, torch.Tensor]:
    """Gives what optimizers keep of each parameter, by the parameter's name."""
    names = {parameter: name for name, parameter in parameters.items()}
    return {
        f"{_OPTIMIZER}{names[parameter]}.{key}": torch.as_tensor(value)
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_tensors(
    folder: Path,
    tensors: dict[str, torch.Tensor],
    parameters: dict[str, nn.Parameter],
    optimizers: list[torch.optim.Optimizer],
    agreement: Agreement,
) -> None:
    """
    Loads a checkpoint into `tensors`, in place, and what optimizers keep into them, on any number of processes.

    A parameter of which nothing had been kept, as it had taken part in no step, has nothing kept of it again.

    Args:
        tensors: under the names that they were saved by.
        parameters: all that optimizers may know, by name.
    """
    path = folder / checkpoints.TENSORS
    saved = FileSystemReader(path).read_metadata().state_dict_metadata
    wanted, states = dict(tensors), {}
    for optimizer in optimizers:
        known = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        for name, parameter in parameters.items():
            if parameter not in known:
                continue
            begin = f"{_OPTIMIZER}{name}."
            kept = {}
            for full, facts in saved.items():
                key = full.removeprefix(begin)
                if full.startswith(begin) and "." not in key and isinstance(facts, TensorStorageMetadata):
                    kept[key] = wanted[full] = _empty(parameter, facts)
            if kept:
                states[parameter] = (optimizer, kept)
    dcp.load(
        wanted, storage_reader=FileSystemReader(path), process_group=agreement.group, no_dist=agreement.group is None
    )
    for optimizer in optimizers:
        optimizer.state.clear()
    for parameter, (optimizer, kept) in states.items():
        optimizer.state[parameter] = kept


def _empty(parameter: nn.Parameter, facts: TensorStorageMetadata) -> torch.Tensor:
    """Makes room for something that is kept of a parameter: of its shape and sharded like it, or a single number."""
    dtype = facts.properties.dtype
    if facts.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
    return torch.zeros(facts.size, dtype=dtype, device=parameter.device)
