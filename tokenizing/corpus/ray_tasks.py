"""Units as tasks of a Ray cluster: each is tried again elsewhere where a worker dies."""

import os
from collections.abc import Callable
from pathlib import Path

from .commits import LostUnit
from .leases import is_leased, sweep_leases
from .plan import Plan, read_plan
from .unit import encode_unit

_RETRIES = 5


def run_ray(
    plan: Plan, device: str, processes: int | None = None, progress: Callable[[int], None] | None = None
) -> list[str]:
    """
    Does the units of a plan as tasks of Ray, in the cluster of RAY_ADDRESS, or in one that is started on this machine.

    Args:
        plan: of the corpus, in a folder that all machines see.
        device: "cpu" or "cuda", of which a task takes one.
        processes: tasks at a time of a cluster that is started here; by default as many as there are GPUs or cores.
        progress: is called with the number of units done.

    Returns:
        What is wrong with units as a whole.

    Raises:
        ImportError: Ray is not installed.
        OSError: the disk is full, a machine has run out of something else, or a task was killed again and again.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError('units as Ray tasks need ray: pip install "atoken[ray]"') from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    missing, damaged = plan.missing(), []
    sweep_leases(plan.folder)
    for unit in missing:
        if not is_leased(plan.folder, unit):
            plan.files.sweep(unit)
    local = (
        None if "RAY_ADDRESS" in os.environ else {"num_cpus": processes or os.cpu_count(), "include_dashboard": False}
    )
    started = not ray.is_initialized()
    if started:
        ray.init(**(local or {}), log_to_driver=False, logging_level="warning")
    try:
        needs = {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
        task = ray.remote(max_retries=_RETRIES, **needs)(_encode)
        waiting = [task.remote(str(plan.folder.absolute()), unit, device) for unit in missing]
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            try:
                problem = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, OSError) else error from None
            except ray.exceptions.WorkerCrashedError as error:
                raise ChildProcessError(
                    f"a task of Ray was killed {1 + _RETRIES} times; tokenize again to go on"
                ) from error
            if problem is not None:
                damaged.append(problem)
            if progress is not None:
                progress(len(plan.units) - len(waiting) - len(damaged))
    finally:
        if started:
            ray.shutdown()
    return damaged


def _encode(folder: str, unit: int, device: str) -> str | None:
    """Does a unit that is not done yet, which one that is tried again may be; says what is wrong with it as a whole."""
    if read_plan(Path(folder)).files.is_committed(unit):
        return None
    try:
        encode_unit(Path(folder), unit, device)
    except LostUnit:
        return None
    except ValueError as error:
        return f"unit {unit}: {error}"
    return None
