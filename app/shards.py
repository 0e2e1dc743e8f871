"""Which of several workers a call is."""

import os
import re

from .errors import UsageError


def shard_of(given: str | None) -> tuple[int, int]:
    """
    Gives the number of this worker, from 0, and how many there are.

    Args:
        given: "I/N" of `--shard`; None takes it from SLURM_ARRAY_TASK_ID, or RANK and WORLD_SIZE, if they are set.

    Raises:
        UsageError: it is something else.
    """
    variables = os.environ
    if given is None and "SLURM_ARRAY_TASK_ID" in variables and "SLURM_ARRAY_TASK_COUNT" in variables:
        first = int(variables.get("SLURM_ARRAY_TASK_MIN", 0))
        return int(variables["SLURM_ARRAY_TASK_ID"]) - first, int(variables["SLURM_ARRAY_TASK_COUNT"])
    if given is None and "RANK" in variables and "WORLD_SIZE" in variables:
        return int(variables["RANK"]), int(variables["WORLD_SIZE"])
    if given is None:
        return 0, 1
    match = re.fullmatch(r"(\d+)/(\d+)", given)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"--shard must be I/N with I from 0 to N - 1, got {given!r}")
    return int(match[1]), int(match[2])
