"""Stages and their turns against Table 2, and latents that grow."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from atoken.training.tokenizer.arithmetic import tower_flops, training_flops
from atoken.training.tokenizer.curriculum import (
    FSQ_DEVIATION,
    TASKS,
    Stage,
    TaskRound,
    fit_to_quantizer,
    grow_latents,
    latent_deviations,
    prepare_model,
)
from atoken.training.tokenizer.memory import estimate
from atoken.training.tokenizer.tiles import Tiles

from ...modeling.helpers import make_model
from .test_micro_batches import whole_batch

TRAINING = Path(__file__).parents[3] / "training"
STAGES = TRAINING / "tokenizer" / "stages"
# Table 2: latents, steps, quantized, largest image and video, and ratios in the order of TASKS.
TABLE = {
    1: (32, 200_000, False, 512, None, (100.0, 0, 0, 0, 0)),
    2: (48, 200_000, False, 1024, 512, (22.2, 11.1, 66.6, 0, 0)),
    3: (48, 50_000, False, 2048, 1024, (22.2, 11.1, 44.4, 11.1, 11.1)),
    4: (48, 100_000, True, 2048, 1024, (22.2, 11.1, 44.4, 11.1, 11.1)),
}


@pytest.mark.parametrize("size", ["so400m", "base"])
@pytest.mark.parametrize("number", TABLE)
def test_stages_are_those_of_table_2(number, size):
    stage = Stage.read(STAGES / f"{size}-{number}.yaml")
    channels, steps, quantize, image, video, ratios = TABLE[number]
    assert (stage.latent_channels, stage.steps, stage.quantize) == (channels, steps, quantize)
    assert stage.image_resolution == (64, image)
    assert stage.video_resolution == (None if video is None else (64, video))
    assert tuple(stage.ratios.get(task, 0) for task in TASKS) == ratios
    sizes = {"image_understanding": 8192, "image_reconstruction": [1024, 4096], "video_reconstruction": [512, 1024]}
    assert all(stage.batch_sizes[task] == sizes[task] for task in {"image_understanding", *stage.ratios} & {*sizes})


@pytest.mark.parametrize("number", TABLE)
def test_turns_match_the_ratios_within_1_percent(number):
    ratios = Stage.read(STAGES / f"so400m-{number}.yaml").ratios
    counts = Counter(islice(TaskRound(ratios), 900))
    for task, ratio in ratios.items():
        assert counts[task] / 900 == pytest.approx(ratio / sum(ratios.values()), abs=0.01)
        assert abs(counts[task] - 900 * ratio / sum(ratios.values())) <= 1


def test_turns_are_spread_out_and_go_on_where_they_were():
    ratios = {"a": 2.0, "b": 1.0, "c": 1.0}
    turns = list(islice(TaskRound(ratios), 12))
    assert all(set(turns[start : start + 4]) == {"a", "b", "c"} for start in range(0, 12, 4))
    first = TaskRound(ratios)
    begun = list(islice(first, 5))
    assert begun + list(islice(TaskRound(ratios, dict(first.state)), 7)) == turns


@torch.no_grad()
def test_grown_latents_keep_the_first_channels_and_the_reconstruction(tmp_path):
    model = make_model(0)
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = model.encode(images)
    decoded = model.decode(before.latents.view(2, 1, 2, 3, 12)).pixel_values
    grow_latents(model, 20, torch.Generator().manual_seed(0))
    after = model.encode(images)
    torch.testing.assert_close(after.latents[..., :12], before.latents, atol=0, rtol=0)
    torch.testing.assert_close(after.latent_dist.logvar[..., :12], before.latent_dist.logvar, atol=0, rtol=0)
    assert after.latents.shape[-1] == 20 and after.latents[..., 12:].abs().min() > 0
    torch.testing.assert_close(
        model.decode(after.latents.view(2, 1, 2, 3, 20)).pixel_values, decoded, atol=1e-6, rtol=1e-6
    )
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(again.encode(images).latents, after.latents, atol=1e-6, rtol=1e-6)


def test_grown_channels_learn():
    model = make_model(0).train()
    grow_latents(model, 16)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    model.decode(model.encode(images).latents.view(1, 1, 2, 2, 16)).pixel_values.square().mean().backward()
    assert model.decoder.input_layer.weight.grad[:, 12:].abs().sum() > 0


def test_latents_do_not_shrink_or_grow_when_quantized():
    with pytest.raises(ValueError, match="latent_channels must be at least the 12"):
        grow_latents(make_model(0), 8)
    with pytest.raises(ValueError, match="model must be continuous .*got a quantized one"):
        grow_latents(make_model(0, discrete=True), 20)


VIDEO_BATCHES = {"image_understanding": 1, "video_reconstruction": 1}
GOOD = {
    "name": "x",
    "latent_channels": 8,
    "steps": 10,
    "ratios": {"image_reconstruction": 1.0},
    "batch_sizes": {"image_understanding": 4, "image_reconstruction": 2},
    "image_resolution": (64, 128),
}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ratios": {"audio": 1.0}}, "audio"),
        ({"ratios": {"image_reconstruction": -1.0}}, "ratios"),
        ({"batch_sizes": {"image_reconstruction": 2}}, "image_understanding"),
        ({"image_resolution": (128, 64)}, "image_resolution"),
        ({"ratios": {"video_reconstruction": 1.0}, "batch_sizes": VIDEO_BATCHES}, "video_resolution"),
        ({"steps": 0}, "steps"),
        (
            {
                "trained": ("decoder",),
                "ratios": {"3d_understanding": 1.0},
                "batch_sizes": {"3d_understanding": 1, "image_understanding": 1},
            },
            "trained must have a part of vision_model for 3d_understanding",
        ),
        ({"trained": ("decoder",), "ratios": {}}, "ratios must have a task"),
    ],
)
def test_bad_stages_are_named(changes, name):
    Stage(**GOOD)
    with pytest.raises(ValueError, match=name):
        Stage(**{**GOOD, **changes})


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "stage.yaml"
    path.write_text("name: x\nlatents: 8\n")
    with pytest.raises(ValueError, match="latents"):
        Stage.read(path)
    path.write_text("name: x\n")
    with pytest.raises(ValueError, match="stage.yaml"):
        Stage.read(path)


@pytest.mark.parametrize(
    "path",
    sorted([*STAGES.glob("*.yaml"), *(TRAINING / "recipes/tiny/stages").glob("*.yaml")]),
    ids=lambda path: path.stem,
)
def test_stage_files_can_be_read(path):
    stage = Stage.read(path)
    assert stage.limits.max_tokens == stage.max_tokens
    assert ("3d_reconstruction" in stage.ratios) == (path.stem[-1] in "34")
    assert stage.quantize == (path.stem[-1] == "4" or path.stem.endswith("-d"))


def test_only_the_named_modules_of_a_stage_learn():
    model = make_model(0)
    prepare_model(model, Stage(**{**GOOD, "latent_channels": 12, "trained": ("decoder", "vision_model.head")}))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = [name for name, _ in model.named_parameters() if name.startswith(("decoder.", "vision_model.head."))]
    assert learning == set(expected) and len(learning) < len(list(model.parameters()))
    absent = Stage(**{**GOOD, "latent_channels": 12, "trained": ("vision_model.head", "decoders")})
    with pytest.raises(ValueError, match=r"trained must name modules of the model \(.*decoder.*\), got decoders"):
        prepare_model(model, absent)


def test_an_encoder_that_does_not_learn_costs_a_third_and_keeps_nothing():
    stage = Stage(**{**GOOD, "latent_channels": 12, "trained": ("decoder",)})
    whole, alone = make_model(0), make_model(0)
    prepare_model(alone, stage)
    batch = whole_batch("image_reconstruction")
    shapes = [(frames, rows * columns) for frames, rows, columns in batch.grids]
    cuts = Tiles(whole.config).cuts(batch.task, 0)
    encoder, decoder = (tower_flops(tower, shapes, cuts) for tower in (whole.vision_model, whole.decoder))
    assert training_flops(whole, batch, False, cuts) == pytest.approx(encoder + decoder)
    assert training_flops(alone, batch, False, cuts) == pytest.approx(encoder / 3 + decoder)
    full, less = (estimate(each, None, stage, 1, 1, None) for each in (whole, alone))
    assert 0 < less.activations < full.activations and 0 < less.inputs < full.inputs and less.states < full.states


def test_a_template_tells_new_latents_what_they_hold():
    narrow, wide = (make_model(latent_channels=count) for count in (6, 12))
    grow_latents(narrow, 12, template=wide)
    assert torch.equal(narrow.decoder.input_layer.weight[:, 6:], wide.decoder.input_layer.weight[:, 6:])
    assert torch.equal(narrow.latent_proj.weight[6:12], wide.latent_proj.weight[6:12])
    assert torch.equal(narrow.latent_proj.weight[18:], wide.latent_proj.weight[18:])
    with pytest.raises(ValueError, match="template must have 14 latents"):
        grow_latents(narrow, 14, template=wide)


def test_latents_are_fitted_to_the_quantizer_without_changing_what_is_decoded():
    model = make_model().eval()
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = model.encode(pixels)
        expected = model.decode(before.latents, before.coords, before.cu_seqlens).pixel_values
        fit_to_quantizer(model, before.latents.std(0))
        after = model.encode(pixels)
        found = model.decode(after.latents, after.coords, after.cu_seqlens).pixel_values
    torch.testing.assert_close(after.latents.std(0), torch.full((12,), FSQ_DEVIATION), rtol=1e-3, atol=0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_stage_3_gives_a_model_its_gaussian_decoder(tmp_path):
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    stage = replace(Stage.read(STAGES / "so400m-3.yaml"), latent_channels=12, gaussian={**small, "num_gaussians": 2})
    with pytest.raises(ValueError, match="must have a section `gaussian` for a model without a Gaussian decoder"):
        prepare_model(make_model(), replace(stage, gaussian=None))
    model = make_model()
    prepare_model(model, stage)
    coords = torch.tensor([[0, 1, 2, 3], [0, 4, 5, 6]])
    (gaussians,) = model.decode_gaussians(torch.zeros(2, 12), coords, torch.tensor([0, 2]))
    assert len(gaussians.means) == 4
    decoder = model.gaussian_decoder
    prepare_model(model, stage)
    assert model.gaussian_decoder is decoder
    model.save_pretrained(tmp_path / "model")
    assert type(model).from_pretrained(tmp_path / "model").gaussian_decoder.config.num_gaussians == 2
    for name in ("so400m-3", "base-4"):
        assert Stage.read(STAGES / f"{name}.yaml").gaussian["num_gaussians"] == 32
    with pytest.raises(ValueError, match="gaussian must have options of AtokenGaussianConfig, got depth"):
        replace(stage, gaussian={"depth": 3})


def test_deviations_are_those_of_all_latents_also_of_a_quantized_model():
    batches = [whole_batch("image_reconstruction"), whole_batch("video_reconstruction")]
    for model in (make_model(), make_model(discrete=True)):
        with torch.no_grad():
            packed = [(each.pixel_values, each.coords, each.cu_seqlens) for each in batches]
            latents = torch.cat([model.encode(*each).latent_dist.mean for each in packed])
        found = latent_deviations(model, batches, torch.device("cpu"))
        assert found.numpy() == pytest.approx(latents.double().numpy().std(0, ddof=1), rel=1e-4)
