"""Several workers on one machine: one process for each GPU, or several on a CPU."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from .decoders import end_with_parent
from .leases import sweep_leases
from .plan import Plan, load_planned_model, read_plan
from .work import DamagedUnit, work

_POLL = 0.5  # seconds between two looks at what is done


def run_processes(
    plan: Plan,
    processes: int,
    device: str,
    shard: int = 0,
    shards: int = 1,
    decoding_processes: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """
    Does the units of a plan in processes, each of which loads the model; on GPUs each has one of its own.

    Args:
        plan: of the corpus.
        processes: how many.
        device: "cpu" or "cuda".
        shard, shards: as in `work`, of this call among others.
        decoding_processes: of each.
        progress: is called now and then with the number of units done.

    Returns:
        What is wrong with units as a whole.

    Raises:
        OSError: the disk is full, the machine has run out of something else, or a process was killed; what is done
            stays done.
        ValueError: the model or the source are no longer those of the plan.
        RuntimeError: a process failed in an unexpected way.
    """
    context = multiprocessing.get_context("spawn")
    running, receivers = [], []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        for index in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            if device == "cuda":
                # Set before torch is imported in the process, where it is the only GPU.
                os.environ["CUDA_VISIBLE_DEVICES"] = _gpu(visible, index)
            place = shard * processes + index, shards * processes
            arguments = (str(plan.folder), device, *place, decoding_processes, sender)
            process = context.Process(target=_run, args=arguments, name=f"worker {index}")
            process.start()
            sender.close()
            running.append(process)
            receivers.append(receiver)
    finally:
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
    while any(process.is_alive() for process in running):
        next(process for process in running if process.is_alive()).join(_POLL)
        if progress is not None:
            progress(plan.files.count())
    sweep_leases(plan.folder)
    damaged = []
    for process, receiver in zip(running, receivers, strict=True):
        damaged += _outcome(process, receiver)
    return damaged


def count_gpus() -> int:
    """Counts the GPUs that this process sees."""
    return torch.cuda.device_count()


def _gpu(visible: str | None, index: int) -> str:
    return str(index) if not visible else visible.split(",")[index]


def _run(folder: str, device: str, shard: int, shards: int, decoding_processes: int, sender: Connection) -> None:
    end_with_parent()
    if device == "cpu":
        # Processes that each take all cores wait for each other.
        torch.set_num_threads(max(1, torch.get_num_threads() // shards))
    try:
        plan = read_plan(Path(folder))
        workers = work(plan, load_planned_model(plan, device), plan.open_source(), shard, shards, decoding_processes)
        sender.send(([str(each) for each in workers if isinstance(each, DamagedUnit)], None))
    except OSError as error:
        sender.send(([], OSError(error.errno, error.strerror, error.filename) if error.errno else OSError(str(error))))
    except ValueError as error:
        sender.send(([], ValueError(str(error))))
    except BaseException:
        sender.send(([], RuntimeError(traceback.format_exc())))


def _outcome(process: multiprocessing.Process, receiver: Connection) -> list[str]:
    """What a process has said about damaged units."""
    killed = f"{process.name} ended with exit code {process.exitcode}; tokenize again to go on"
    try:
        damaged, error = receiver.recv() if receiver.poll() else ([], ChildProcessError(killed))
    except EOFError:
        damaged, error = [], ChildProcessError(killed)
    if error is not None:
        raise error
    return damaged
