"""Which checkpoint a run goes on from."""

from pathlib import Path

from . import checkpoints
from .agreement import Agreement


def checkpoint_to_resume(resume: str, output: Path, agreement: Agreement) -> Path | None:
    """
    Finds the checkpoint that a run goes on from, the same in all processes.

    Args:
        resume: "auto" for the newest whole one in `output`, "never", or a checkpoint's folder.
        output: folder of the run.
        agreement: of the processes, each of which reads through a share of the files.

    Returns:
        The folder; None to begin anew.

    Raises:
        ValueError: the folder that was named is no whole checkpoint.
    """

    def fault_of(folder: Path) -> str | None:
        fault = checkpoints.damage(folder, agreement.rank, agreement.processes)
        # Every process has read another part of the files.
        return (fault or "another process found it damaged") if agreement.any(fault is not None) else None

    if resume == "never":
        return None
    if resume == "auto":
        return checkpoints.newest(output, fault_of)
    fault = fault_of(Path(resume))
    if fault is not None:
        raise ValueError(f"resume must be a whole checkpoint, got {resume}: {fault}")
    return Path(resume)
