"""The first and last parts of a program that trains: its settings, its run, what a stopped one tells a launcher."""

from typing import Any

import torch
from accelerate.utils import set_seed

from .interruption import STOPPED, Stopped
from .trainer import Trainer


def begin(seed: int) -> None:
    """
    Seeds whatever draws, and has numbers of less than full precision, below 1e-38, become zero on a CPU.

    Gradients through attention are full of them, and a CPU needs a hundred times as long for each: without this, the
    backward pass of an object of 4,000 voxels takes four times as long. It holds for threads that begin later, so this
    comes before the first computation.

    Args:
        seed: of the whole program.
    """
    torch.set_flush_denormal(True)
    set_seed(seed)


def run_to_its_end(trainer: Trainer, data: Any) -> None:
    """
    Runs a training, and ends its data and trackers whatever happens.

    Args:
        trainer: ready to run.
        data: where its batches come from; has `close`.

    Raises:
        SystemExit: with the code `STOPPED`, if a signal has stopped the run, which can be resumed.
    """
    try:
        trainer.run()
    except Stopped as stop:
        print(stop, flush=True)
        raise SystemExit(STOPPED) from None
    finally:
        data.close()
    trainer.accelerator.end_training()
