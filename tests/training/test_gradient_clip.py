"""Gradient norms that follow the norms before, against numpy's percentile."""

import numpy as np
import pytest
import torch

from atoken.training.gradient_clip import WINDOW, GradientClip
from atoken.training.optimization import OptimizerSettings, parts_of


def test_the_fixed_norm_holds_until_there_are_a_thousand():
    clip, norms = GradientClip(1.0, 95), np.random.default_rng(0).uniform(0, 0.5, WINDOW + 300)
    for count, norm in enumerate(norms.tolist()):
        expected = 1.0 if count < WINDOW else np.percentile(norms[count - WINDOW : count], 95)
        assert clip.norm() == pytest.approx(expected, rel=1e-12)
        clip.note(norm)


def test_a_percentile_above_the_fixed_norm_does_not_count():
    clip = GradientClip(1.0, 95)
    for _ in range(WINDOW):
        clip.note(7.0)
    assert clip.norm() == 1.0


def test_norms_that_are_not_finite_are_passed_over():
    clip = GradientClip(1.0, 50)
    for norm in [0.5] * WINDOW + [float("nan"), float("inf")]:
        clip.note(norm)
    assert clip.norm() == 0.5


def test_it_goes_on_from_its_state():
    clip, again = GradientClip(1.0, 95), GradientClip(1.0, 95)
    for norm in np.random.default_rng(1).uniform(0, 1, WINDOW).tolist():
        clip.note(norm)
    again.restore(clip.state())
    assert again.norm() == clip.norm() < 1.0


def test_without_a_percentile_nothing_is_waited_for():
    assert not GradientClip(1.0).follows and GradientClip(1.0).norm() == 1.0
    again = GradientClip(1.0, 95)
    again.restore(None)  # a checkpoint of before
    assert again.norm() == 1.0


@pytest.mark.parametrize("percentile", [0, -1, 101])
def test_percentiles_that_cannot_be(percentile):
    with pytest.raises(ValueError, match="clip_percentile must be above 0 and at most 100"):
        OptimizerSettings(clip_percentile=percentile)


def test_a_trainer_cuts_at_it(tmp_path):
    """Norms of a known gradient: the same for all steps, so that the percentile is that norm."""
    from accelerate import Accelerator

    from atoken.training.trainer import Trainer, TrainerSettings

    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Linear(1, 1, bias=False)

        def forward(self, batch, share=None, common=None):
            return [None] if share is None else {"loss": 0.5 * self.model.weight.sum()}

    class Batch:
        task, num_tokens, num_samples = "generation", 1, 1

        def to(self, device):
            return self

    settings = TrainerSettings(tmp_path, 1, OptimizerSettings(clip=2.0, clip_percentile=95))
    trainer = Trainer(Accelerator(cpu=True), Sum(), batches=None, settings=settings)
    trainer.clip.restore([0.25] * WINDOW)
    seen = []
    parts_of(trainer.optimizer)[0].register_step_pre_hook(
        lambda *_: seen.append(float(trainer.bare_objective.model.weight.grad))
    )
    trainer.step([Batch()])
    assert seen == [pytest.approx(0.25, rel=1e-4)]
    assert trainer.clip.state()[-1] == pytest.approx(0.5)
