"""What generators learn, against formulas and against the golden numbers' own pieces."""

import inspect
import json
from pathlib import Path

import pytest
import torch

from atoken.training.contracts import Share
from atoken.training.generators.building import build_objective
from atoken.training.generators.lightning_dit_objective import drop_labels
from atoken.training.generators.stage import GeneratorStage
from atoken.training.generators.token_batches import TokenImages

from ...generation.helpers import lightning_dit, token_bridge

STAGES = Path(__file__).parents[3] / "training/generators/stages"
WHOLE = Share(tokens=1.0, samples=1.0)


def stage(generator: str, **options) -> GeneratorStage:
    return GeneratorStage("test", generator, "tiny", steps=1, batch_size=2, **options)


def latents(count: int = 6, step: int = 0, rank: int = 0) -> TokenImages:
    generator = torch.Generator().manual_seed(0)
    return TokenImages(torch.randn(count, 4, 4, 4, generator=generator), torch.arange(count) % 3, step, rank)


def codes(count: int = 6, step: int = 0) -> TokenImages:
    generator = torch.Generator().manual_seed(0)
    return TokenImages(torch.randint(16, (count, 9, 2), generator=generator), torch.arange(count) % 3, step, 0)


def test_the_loss_of_latents_is_that_of_the_velocity():
    """A model whose velocity is known: zero at the start, so the loss is the target's mean square plus one."""
    model = lightning_dit()
    torch.nn.init.zeros_(model.proj_out.weight)
    torch.nn.init.zeros_(model.proj_out.bias)
    parts = build_objective(model, stage("lightning-dit"), 0)(latents(512), WHOLE)
    # Data and noise are both standard normal and independent: the mean square of their difference is 2.
    assert float(parts["mse"]) == pytest.approx(2.0, rel=0.05)
    assert float(parts["cosine"]) == pytest.approx(1.0, abs=1e-6)
    assert parts["loss"].item() == pytest.approx(float(parts["mse"] + parts["cosine"]))


def test_times_are_logit_normal_and_then_uniform():
    model, seen = lightning_dit(), {}
    model.register_forward_pre_hook(lambda _, args: seen.update(time=args[1]))
    objective = build_objective(model, stage("lightning-dit", uniform_time_from=5), 0)
    deviations = {}
    for step in (4, 5):
        with torch.no_grad():
            objective(latents(2048, step), WHOLE)
        deviations[step] = float(seen["time"].std())
        assert 0 <= seen["time"].min() and seen["time"].max() <= 1
    assert deviations[4] == pytest.approx(0.2083, abs=0.01)  # of the sigmoid of a standard normal
    assert deviations[5] == pytest.approx(12**-0.5, abs=0.01)


def test_labels_are_dropped_in_their_share():
    labels = torch.zeros(20000, dtype=torch.int64)
    dropped = drop_labels(labels, 0.1, 7, torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0, 7}
    assert float((dropped == 7).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_rates_of_masks_are_a_truncated_normal():
    from scipy.stats import truncnorm

    objective = build_objective(token_bridge(sample_size=16), stage("token-bridge"), 0)
    drawn = torch.tensor([objective.masked(step) / 256 for step in range(1000)])
    expected = truncnorm(-0.3 / 0.25, 0.0, loc=1.0, scale=0.25)
    assert drawn.min() >= 0.7 and drawn.max() <= 1.0
    # Numbers of positions are rounded up, by half of one on average.
    assert float(drawn.mean()) == pytest.approx(expected.mean() + 0.5 / 256, abs=0.006)
    assert float(drawn.std()) == pytest.approx(expected.std(), rel=0.07)


@pytest.mark.parametrize("kind", ["lightning-dit", "token-bridge"])
def test_random_numbers_follow_from_seed_step_and_process(kind):
    model, batch = (lightning_dit(), latents) if kind == "lightning-dit" else (token_bridge(), codes)
    losses = [
        float(build_objective(model, stage(kind), seed)(batch(step=step), WHOLE)["loss"].detach())
        for seed, step in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("kind", ["lightning-dit", "token-bridge"])
def test_an_exported_generator_loads_again(kind, tmp_path):
    model = lightning_dit() if kind == "lightning-dit" else token_bridge()
    objective = build_objective(model, stage(kind), 0)
    objective.export(objective.state_dict(), tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for name in inspect.signature(type(model)).parameters:
        # As JSON, whose names are texts.
        assert json.dumps(loaded.config[name]) == json.dumps(model.config[name]), name
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_operations_of_a_step_are_those_of_its_products():
    """Against torch's own counter, which counts a forward pass without the backward one's two thirds."""
    from torch.utils.flop_counter import FlopCounterMode

    for kind, model, batch in (
        ("lightning-dit", lightning_dit(), latents(4)),
        ("token-bridge", token_bridge(), codes(4)),
    ):
        objective = build_objective(model, stage(kind), 0)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            objective(batch, WHOLE)
        assert objective.count_flops(batch) / 3 == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("path", sorted(STAGES.glob("*.yaml")), ids=lambda path: path.stem)
def test_stage_files_are_read(path):
    assert GeneratorStage.read(path).steps > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nsteps: 1", "must have batch_size, generator, preset"),
        ("name: a\nwidth: 3", "must have names among"),
        ("{name: a, generator: gan, preset: B, steps: 1, batch_size: 1}", "generator must be one of"),
        ("{name: a, generator: token-bridge, preset: B, steps: 0, batch_size: 1}", "steps must be at least 1"),
        (
            "{name: a, generator: lightning-dit, preset: B, steps: 1, batch_size: 1, share_digits: true}",
            "share_digits must be left out for lightning-dit",
        ),
        (
            "{name: a, generator: token-bridge, preset: B, steps: 1, batch_size: 1, label_dropout: 2}",
            "label_dropout must be from 0 to 1",
        ),
        (
            "{name: a, generator: token-bridge, preset: B, steps: 1, batch_size: 1, mask_rate: [1, 0, 0.7]}",
            "mask_rate must be a mean",
        ),
    ],
)
def test_stage_files_that_cannot_be(text, message, tmp_path):
    (tmp_path / "stage.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        GeneratorStage.read(tmp_path / "stage.yaml")
