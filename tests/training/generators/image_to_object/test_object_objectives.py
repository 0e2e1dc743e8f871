"""What image to 3D learns, against the golden numbers of TRELLIS and formulas in float64."""

import inspect
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atoken.training.contracts import Share
from atoken.training.generators.image_to_object.batches import Grids, Place, VoxelLatents
from atoken.training.generators.image_to_object.building import build_object_objective
from atoken.training.generators.image_to_object.noise_paths import draw_times, drop_conditions, noised
from atoken.training.generators.image_to_object.stage import ObjectStage
from atoken.training.generators.image_to_object.structure_vae_objective import dice_loss, divergence

from ....generation.conftest import GOLDEN, assert_close
from ....generation.object_helpers import latent_flow, structure_flow, structure_vae

STAGES = Path(__file__).parents[4] / "training"
WHOLE = Share(tokens=1.0, samples=1.0)
STRUCTURE, LATENTS = (load_file(GOLDEN / f"{name}.tensors.safetensors") for name in ("sparse_structure", "slat_flow"))
KINDS = ("structure-vae", "structure-flow", "structured-latent-flow")


def stage(generator: str = "structure-flow", **options) -> ObjectStage:
    return ObjectStage("test", generator, steps=1, batch_size=2, **options)


def model_of(kind: str):
    return {"structure-vae": structure_vae, "structure-flow": structure_flow}.get(kind, latent_flow)()


def batch_of(kind: str, step: int = 0, rank: int = 0, part: int = 0):
    generator = torch.Generator().manual_seed(0)
    place = Place(step, rank, part)
    if kind == "structure-vae":
        return Grids((torch.rand(2, 1, 8, 8, 8, generator=generator) < 0.3).float(), None, place)
    conditions = torch.randn(2, 5, 32, generator=generator)
    if kind == "structure-flow":
        return Grids(torch.randn(2, 2, 4, 4, 4, generator=generator), conditions, place)
    coords = torch.cat([torch.randperm(512, generator=generator)[:count] for count in (30, 50)])
    xyz = torch.stack([torch.zeros_like(coords), coords // 64, coords // 8 % 8, coords % 8], dim=1)
    return VoxelLatents(torch.randn(80, 4, generator=generator), xyz, (30, 50), conditions, place)


def test_the_way_from_data_to_noise_is_the_golden_one():
    mixed, target = noised(STRUCTURE["train.x0"], STRUCTURE["train.noise"], STRUCTURE["train.t"].view(-1, 1, 1, 1, 1))
    assert_close(mixed, STRUCTURE["train.xt"])
    assert_close(target, STRUCTURE["train.velocity"])
    time = LATENTS["train.t"][LATENTS["coords"][:, 0].long()][:, None]
    mixed, target = noised(LATENTS["train.x0"], LATENTS["train.noise"], time)
    assert_close(mixed, LATENTS["train.xt"])
    assert_close(target, LATENTS["train.velocity"])


def test_the_losses_of_structures_are_the_golden_ones():
    from atoken.generation import convert_sparse_structure_autoencoder

    from ....generation.test_object_flows_golden import STRUCTURE_WEIGHTS, part

    vae = convert_sparse_structure_autoencoder(
        *(part(STRUCTURE_WEIGHTS, f"{half}.") for half in ("encoder", "decoder"))
    )
    mean, logvar = STRUCTURE["vae.mean"], STRUCTURE["vae.logvar"]
    with torch.no_grad():
        logits = vae.decode(mean + (logvar / 2).exp() * STRUCTURE["vae.noise"]).sample
    assert_close(dice_loss(logits, STRUCTURE["vae.occupancy"].float()), STRUCTURE["vae.dice"])
    assert_close(divergence(mean, logvar), STRUCTURE["vae.kl"])


def test_the_parts_of_the_loss_of_structures_count_as_the_stage_says():
    batch = batch_of("structure-vae")
    options = {"kl_weight": 0.5, "cross_entropy_weight": 2.0}
    parts = build_object_objective(structure_vae(), stage("structure-vae", **options), 0)(batch, WHOLE)
    loss = parts["dice"] + 0.5 * parts["kl"] + 2 * parts["cross_entropy"]
    assert float(parts["loss"].detach()) == pytest.approx(float(loss), rel=1e-6)
    alone = build_object_objective(structure_vae(), stage("structure-vae"), 0)(batch, WHOLE)
    assert float(alone["loss"].detach()) == pytest.approx(float(parts["dice"] + 1e-3 * parts["kl"]), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_loss_is_the_plain_mean_over_all_voxels(kind):
    """From what the model was given: the noise in it, then the target and the squares in float64."""
    model, batch, seen = model_of(kind), batch_of(kind), {}
    model.register_forward_hook(lambda module, args, found: seen.update(noisy=args[0], time=args[-2], found=found[0]))
    loss = build_object_objective(model, stage(kind), 0)(batch, WHOLE)["loss"]
    data = (batch.data if kind == "structure-flow" else batch.latents).double()
    time = (seen["time"] / 1000).double()
    time = (
        time.view(-1, 1, 1, 1, 1)
        if kind == "structure-flow"
        else time.repeat_interleave(torch.tensor([30, 50]))[:, None]
    )
    noise = (seen["noisy"].double() - (1 - time) * data) / (1e-5 + (1 - 1e-5) * time)
    expected = (seen["found"].double() - ((1 - 1e-5) * noise - data)).square().mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert float(noise.std()) == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize(("options", "mean"), [({}, 1.0), ({"logit_mean": 1.896}, 1.896)])
def test_times_are_logit_normal(options, mean):
    times = draw_times(20_000, stage(**options), torch.Generator().manual_seed(0)).double()
    logits = (times / (1 - times)).log()
    assert float(logits.mean()) == pytest.approx(mean, abs=0.03)
    assert float(logits.std()) == pytest.approx(1.0, abs=0.03)


def test_times_may_be_uniform():
    times = draw_times(20_000, stage(times="uniform"), torch.Generator().manual_seed(0))
    assert float(times.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(times.std()) == pytest.approx(12**-0.5, abs=0.01)


def test_dropped_conditions_are_zeros():
    kept = drop_conditions(torch.ones(20_000, 2, 3), 0.1, torch.Generator().manual_seed(0))
    whole = kept.flatten(1)
    assert ((whole == 0).all(1) | (whole == 1).all(1)).all()
    assert float((whole == 0).all(1).float().mean()) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_random_numbers_follow_from_seed_and_place(kind):
    model = model_of(kind)
    places = [(0, {}), (0, {}), (1, {}), (0, {"step": 1}), (0, {"rank": 1}), (0, {"part": 1})]
    losses = [
        float(build_object_objective(model, stage(kind), seed)(batch_of(kind, **place), WHOLE)["loss"].detach())
        for seed, place in places
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_loads_again(kind, tmp_path):
    model = model_of(kind)
    objective = build_object_objective(model, stage(kind), 0)
    objective.export(objective.state_dict(), tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for name in inspect.signature(type(model)).parameters:
        # As JSON, whose lists are no tuples.
        assert json.dumps(loaded.config[name]) == json.dumps(model.config[name]), name
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


STAGE_FILES = [
    *STAGES.glob("generators/image_to_object/stages/struct*.yaml"),
    *STAGES.glob("recipes/tiny_image_to_object/stages/*.yaml"),
]


@pytest.mark.parametrize("path", sorted(STAGE_FILES), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_stage_files_are_read(path):
    found = ObjectStage.read(path)
    assert found.steps > 0 and found.optimizer.clip_percentile == 95 and found.optimizer.weight_decay == 0


def test_the_papers_settings():
    found = ObjectStage.read(STAGES / "generators/image_to_object/stages/structured-latent-flow-l.yaml")
    assert (found.batch_size, found.steps, found.micro_batches, found.max_voxels) == (256, 400_000, 4, 32_768)
    optimizer = found.optimizer
    assert (optimizer.rate, optimizer.final_rate, optimizer.average, optimizer.average_ramp) == (
        1e-4,
        1e-4,
        0.9999,
        False,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"generator": "mesh-flow"}, "generator must be one of structure-vae, structure-flow, structured-latent-flow"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_voxels": 0}, "max_voxels must be at least 1"),
        ({"micro_batches": 0}, "micro_batches must be at least 1"),
        ({"crop": 0}, "crop must be at least 1"),
        ({"condition_dropout": 1.5}, "condition_dropout must be from 0 to 1, got 1.5"),
        ({"times": "cosine"}, 'times must be "logit-normal" or "uniform"'),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        ObjectStage(**{"name": "a", "generator": "structure-vae", "steps": 1, "batch_size": 1, **values})
