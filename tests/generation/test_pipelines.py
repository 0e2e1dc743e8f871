"""Pipelines: the authors' sampler, images that do not depend on their batch, files, and offloading."""

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from atoken.generation import LightningDiTPipeline, TokenBridgePipeline, convert_lightning_dit
from atoken.generation.flow_schedulers_atoken import scheduled

from .conftest import Golden, assert_close
from .helpers import autoencoder, lightning_pipeline, token_pipeline

MAKERS = {"latents": lightning_pipeline, "codes": token_pipeline}
OPTIONS = {"latents": {"num_inference_steps": 5}, "codes": {"num_inference_steps": 4}}


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def assert_same(kind: str, first: torch.Tensor, second: torch.Tensor) -> None:
    if kind == "codes":
        assert torch.equal(first, second)
    else:
        assert float((first - second).abs().max()) <= 1e-4


@pytest.mark.parametrize(
    ("variant", "name"),
    [("plain", "unguided"), ("plain", "guided"), ("plain", "first_three"), ("qknorm", "guided")],
)
def test_the_scheduler_of_diffusers_gives_the_authors_states(variant, name):
    golden = Golden("lightning_dit", variant)
    sampling = next(each for each in golden.config["samplings"] if each["name"] == name)
    model = convert_lightning_dit(golden.weights)
    vae = autoencoder(channels=model.config.in_channels)
    pipeline = LightningDiTPipeline(model, vae, FlowMatchEulerDiscreteScheduler())
    pipeline.set_progress_bar_config(disable=True)
    states = [golden["sample.noise"]]

    def note(pipeline, step, time, tensors):
        states.append(tensors["latents"])

    pipeline(
        golden["sample.labels"],
        num_inference_steps=sampling["num_sampling_steps"] - 1,
        guidance_scale=sampling["cfg_scale"],
        guidance_channels=None if sampling["cfg_channels"] == "all" else sampling["cfg_channels"],
        guidance_start=sampling["cfg_interval_start"],
        shift=sampling["timestep_shift"] or 1.0,
        latents=golden["sample.noise"],
        output_type="latent",
        callback_on_step_end=note,
    )
    expected = golden[f"sample.{name}.states"]
    assert_close(torch.stack(states if len(expected) > 1 else states[-1:]), expected, relative=True)


@pytest.mark.parametrize("kind", MAKERS)
def test_an_image_is_the_same_alone_and_in_a_batch(kind):
    pipeline = MAKERS[kind]()
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    together = pipeline(labels, generator=seeds(*range(8)), output_type="latent", **OPTIONS[kind]).images
    for index in (0, 5):
        alone = pipeline(labels[index], generator=seeds(index), output_type="latent", **OPTIONS[kind]).images
        assert_same(kind, alone[0], together[index])


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("by", ["its class", "DiffusionPipeline"])
def test_after_save_and_load(kind, by, tmp_path):
    pipeline = MAKERS[kind]()
    first = pipeline([0, 2], generator=seeds(0, 1), output_type="latent", **OPTIONS[kind]).images
    pipeline.save_pretrained(tmp_path)
    loader = type(pipeline) if by == "its class" else DiffusionPipeline
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is type(pipeline)
    loaded.set_progress_bar_config(disable=True)
    assert_same(kind, loaded([0, 2], generator=seeds(0, 1), output_type="latent", **OPTIONS[kind]).images, first)


@pytest.mark.parametrize("kind", MAKERS)
def test_with_weights_offloaded(kind):
    """On a CPU accelerate's hooks move weights off and on just the same."""
    from accelerate import cpu_offload

    pipeline = MAKERS[kind]()
    first = pipeline([1], generator=seeds(3), output_type="pt", **OPTIONS[kind]).images
    for name in ("transformer", "vae"):
        cpu_offload(getattr(pipeline, name), torch.device("cpu"), offload_buffers=True)
    again = pipeline([1], generator=seeds(3), output_type="pt", **OPTIONS[kind]).images
    assert float((first - again).abs().max()) <= 1e-4


@pytest.mark.parametrize("kind", MAKERS)
def test_kinds_of_output(kind):
    pipeline = MAKERS[kind]()
    size = 16 * pipeline.transformer.config.sample_size
    made = {
        name: pipeline("red star", generator=seeds(0), output_type=name, **OPTIONS[kind]).images
        for name in ("pil", "np", "pt")
    }
    assert made["pil"][0].size == (size, size)
    assert made["np"].shape == (1, size, size, 3) and made["pt"].shape == (1, 3, size, size)
    assert 0 <= made["np"].min() and made["np"].max() <= 1
    assert np.array_equal(np.asarray(made["pil"][0]), (made["np"][0] * 255).round().astype(np.uint8))
    (images,) = pipeline("red star", generator=seeds(0), output_type="pt", return_dict=False, **OPTIONS[kind])
    assert torch.equal(images, made["pt"])


def test_names_and_numbers_are_the_same_classes():
    pipeline = lightning_pipeline()
    by_name, by_number = (
        pipeline(labels, generator=seeds(0, 1), num_inference_steps=2, output_type="latent").images
        for labels in (["red star", "Disk"], [0, 1])
    )
    assert torch.equal(by_name, by_number)


def test_the_null_half_runs_only_where_guidance_is_on():
    pipeline = lightning_pipeline()
    counts = []
    hook = pipeline.transformer.register_forward_pre_hook(
        lambda _, args: counts.append((len(args[0]), float(args[1][0])))
    )
    pipeline([0, 1], num_inference_steps=20, guidance_scale=2.0, guidance_start=0.125, output_type="latent")
    assert {count for count, time in counts if time < 0.125} == {2}
    assert {count for count, time in counts if time >= 0.125} == {4}
    counts.clear()
    pipeline([0, 1], num_inference_steps=3, guidance_scale=1.0, output_type="latent")
    hook.remove()
    assert [count for count, _ in counts] == [2, 2, 2]


def test_a_third_of_the_steps_is_unguided_as_the_page_computes():
    pipeline = lightning_pipeline()
    times = 1 - scheduled(pipeline.scheduler, 249, 1 / 0.3, torch.device("cpu"))[1]
    # t = 0.125 after the shift is 0.125 / (0.3 + 0.7 * 0.125) before it, and the grid is even there.
    assert abs(float((times < 0.125).float().mean()) - 0.125 / (0.3 + 0.7 * 0.125)) < 1 / 249


def test_an_other_scheduler_for_flows():
    pipeline = lightning_pipeline()
    pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    heun = pipeline([0], num_inference_steps=30, generator=seeds(0), output_type="latent").images
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    euler = pipeline([0], num_inference_steps=400, generator=seeds(0), output_type="latent").images
    assert float((heun - euler).abs().max()) < 0.05 * float(euler.abs().max())


def test_a_scheduler_of_many_steps_takes_the_shift():
    """Both go from noise to data along one curve, so with many steps their ends meet, whatever the shift."""
    pipeline = lightning_pipeline()
    euler = pipeline([0], num_inference_steps=400, generator=seeds(0), output_type="latent").images
    pipeline.scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    for shift in (0.3, 1.0):
        found = pipeline([0], num_inference_steps=20, shift=shift, generator=seeds(0), output_type="latent").images
        assert float((found - euler).abs().max()) < 0.05 * float(euler.abs().max())


def test_statistics_are_undone_before_decoding():
    pipeline = lightning_pipeline(latents_multiplier=0.5)
    options = {"num_inference_steps": 3, "guidance_scale": 1.0}
    normalized = pipeline([0], generator=seeds(0), output_type="latent", **options).images
    config = pipeline.transformer.config
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("latents_mean", "latents_std"))
    with torch.no_grad():
        expected = pipeline.vae.decode(normalized / 0.5 * std + mean).sample
    images = pipeline([0], generator=seeds(0), output_type="pt", **options).images
    assert float((images - (expected / 2 + 0.5).clamp(0, 1)).abs().max()) < 1e-5


def test_a_temperature_of_zero_needs_no_generator():
    pipeline = token_pipeline()
    order = torch.arange(9).flip(0)[None]
    first, second = (
        pipeline([1], num_inference_steps=3, temperature=0, order=order, output_type="latent").images for _ in range(2)
    )
    assert torch.equal(first, second)


def test_codes_are_drawn_as_the_distribution_says():
    """Against torch.multinomial's own frequencies: 20,000 codes of one distribution, within four deviations."""
    from atoken.generation.drawing_atoken import CodeDrawing

    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    drawing = CodeDrawing(1, 0.7, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = drawing.begin(20000)(logits.expand(20000, -1), 0)
    expected = torch.softmax(logits / 0.7, -1)
    found = torch.bincount(drawn, minlength=4) / 20000
    assert ((found - expected).abs() < 4 * (expected * (1 - expected) / 20000).sqrt()).all()


def test_pipelines_are_known_to_diffusers():
    import diffusers

    assert diffusers.LightningDiTPipeline is LightningDiTPipeline
    assert diffusers.TokenBridgePipeline is TokenBridgePipeline
