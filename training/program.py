"""The last part of a program that trains: the run itself, and what a launcher is told of one that was stopped."""

from typing import Any

from .interruption import STOPPED, Stopped
from .trainer import Trainer


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
