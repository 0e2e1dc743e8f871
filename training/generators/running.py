"""The run of a generator's training, once its parts are made."""

from collections.abc import Iterable
from typing import Any

from accelerate import Accelerator
from torch import nn

from ..agreement import Agreement
from ..program import run_to_its_end
from ..resuming import checkpoint_to_resume
from ..trainer import Hook, Trainer, TrainerSettings


def run_training(
    accelerator: Accelerator,
    objective: nn.Module,
    batches: Any,
    settings: TrainerSettings,
    *,
    name: str,
    about: Iterable[str],
    resume: str,
    tracker: str,
    agreement: Agreement,
    seed: int,
    hooks: Iterable[Hook],
) -> None:
    """
    Trains from where a run was stopped, or from the start, to its end.

    Args:
        accelerator: of `build_accelerator`.
        objective: with the generator as its `model`.
        batches: where steps come from; has `close`.
        settings: of the trainer.
        name: of the stage.
        about: what is said of the data at the start.
        resume: "auto", "never" or a checkpoint's folder.
        tracker: where the log is shown, or "none".
        agreement: among the processes.
        seed: for the tracker's record.
        hooks: of the trainer, such as a progress bar.

    Raises:
        SystemExit: the run was stopped by a signal, and can be resumed.
    """
    weights = sum(each.numel() for each in objective.model.parameters() if each.requires_grad)
    trainer = Trainer(accelerator, objective, batches, settings, list(hooks))
    found = checkpoint_to_resume(resume, settings.output, agreement)
    if found is not None:
        trainer.resume(found)
    if accelerator.is_main_process:
        print(", ".join([f"{name}: {weights:,} weights", *about, f"from step {trainer.progress.step}"]), flush=True)
    if tracker != "none":
        accelerator.init_trackers("atoken", config={"stage": name, "seed": seed})
    run_to_its_end(trainer, batches)
