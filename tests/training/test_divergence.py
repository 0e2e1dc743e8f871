"""Steps without finite gradients: skipped, counted, and given up after too many in a row."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from atoken.training.data.tasks import open_tasks, read_data
from atoken.training.tokenizer.curriculum import Stage
from atoken.training.tokenizer.networks import load_start
from atoken.training.tokenizer.objective import Objective
from atoken.training.tokenizer.turns import TurnBatches
from atoken.training.trainer import Diverged, Trainer, TrainerSettings

from .stage_samples import make_start, write_data, write_stage


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    stage = Stage.read(write_stage(tmp_path / "stage.yaml", ratios={"image_reconstruction": 1}))
    model, processor = load_start(str(make_start(tmp_path / "start")))
    tasks = ["image_understanding", "image_reconstruction"]
    batches = open_tasks(
        tasks, read_data(write_data(tmp_path)), stage.batch_sizes, stage.limits, processor.tokenizer, 16, 0, 0, 1, 1
    )
    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True)
    objective = Objective(model, stage.losses, processor=processor)
    settings = TrainerSettings(
        tmp_path, stage.steps, stage.optimizer, max_skipped=2, save_every=100, log_every=1, keep=1
    )
    turns = TurnBatches(batches, stage.ratios)
    yield Trainer(accelerator, objective, turns, settings)
    turns.close()
    AcceleratorState._reset_state(reset_partial_state=True)


def poison(trainer: Trainer, steps: set[int]) -> None:
    """Makes the loss of some steps infinite."""
    real = trainer.objective.forward

    def forward(batch):
        parts = real(batch)
        if trainer.progress.step in steps:
            parts["loss"] = parts["loss"] * torch.inf
        return parts

    trainer.objective.forward = forward


def test_a_bad_step_changes_nothing_and_is_counted(trainer):
    poison(trainer, {1, 2, 5})
    weights, averages = [], []
    for _ in range(7):
        trainer.step(next(trainer.batches))
        weights.append(trainer.bare_objective.model.decoder.out_layer.weight.detach().clone())
        averages.append(trainer.average.values["model.decoder.out_layer.weight"].clone())
    moved = [not torch.equal(before, after) for before, after in zip(weights, weights[1:], strict=False)]
    assert moved == [False, False, True, True, False, True]
    assert [not torch.equal(a, b) for a, b in zip(averages, averages[1:], strict=False)] == moved
    assert (trainer.progress.step, trainer.progress.skipped, trainer.progress.skipped_in_a_row) == (7, 3, 0)
    assert all(torch.isfinite(each).all() for each in weights + averages)


def test_too_many_in_a_row_stop_the_run(trainer):
    poison(trainer, {2, 3, 4, 5, 6})
    with pytest.raises(Diverged, match="not finite for 3 steps in a row, up to 5.*another seed"):
        trainer.run()
    assert not trainer.settings.exported.exists()
