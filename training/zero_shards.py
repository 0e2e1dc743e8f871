"""Checkpoints of DeepSpeed's ZeRO, whose shards only DeepSpeed can read, and only in as many processes."""

from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from . import checkpoints
from .optimization import AveragedWeights

_STATE = "zero"


def save(accelerator: Accelerator, average: AveragedWeights, folder: Path) -> None:
    """Writes engine and averages of this process into a checkpoint's folder."""
    accelerator.save_state(str(folder / _STATE))
    save_file(average.values, folder / f"average-{accelerator.process_index}.safetensors")


def load(accelerator: Accelerator, average: AveragedWeights, folder: Path) -> None:
    """
    Reads what `save` wrote.

    Raises:
        ValueError: another number of processes wrote it.
    """
    written = checkpoints.processes_of(folder)
    if written != accelerator.num_processes:
        raise ValueError(
            f"processes must be {written} with DeepSpeed, which wrote {folder}, got {accelerator.num_processes}; "
            "launch as many, or start from its exported weights"
        )
    accelerator.load_state(str(folder / _STATE))
    averages = load_file(folder / f"average-{accelerator.process_index}.safetensors")
    # In the order that the average has, not in the file's.
    average.values = {name: averages[name].to(accelerator.device) for name in average.values}
