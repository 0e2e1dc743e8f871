"""The pipeline from pictures to Gaussians: its steps, objects alone and together, files, and bad input."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler

from atoken import Gaussians
from atoken.generation import ImageToObjectPipeline
from atoken.generation.flow_sampling_atoken import FlowSampling, clean_data, sample_flow

from .object_helpers import latent_flow, object_pipeline, picture, structure_flow, structure_vae, tokenizer


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


@pytest.fixture(scope="module")
def pipeline() -> ImageToObjectPipeline:
    return object_pipeline()


def test_pictures_become_gaussians(pipeline):
    made = pipeline([picture(0), picture(1)], generator=seeds(0, 1))
    lengths = made.cu_seqlens.diff().tolist()
    assert [len(gaussians) for gaussians in made.gaussians] == [2 * length for length in lengths]
    assert all(isinstance(gaussians, Gaussians) for gaussians in made.gaussians)
    assert made.coords.shape == (sum(lengths), 4) and made.latents.shape == (sum(lengths), 4)
    assert not made.coords[:, 0].any() and 0 <= int(made.coords.min()) and int(made.coords.max()) < 8
    latent = pipeline([picture(0), picture(1)], generator=seeds(0, 1), output_type="latent")
    assert latent.gaussians is None and torch.equal(latent.latents, made.latents)
    _, latents, _, _ = pipeline([picture(0), picture(1)], generator=seeds(0, 1), return_dict=False)
    assert torch.equal(latents, made.latents)


@pytest.mark.parametrize("own_encoder", [True, False])
def test_an_object_is_the_same_alone_and_in_a_batch(own_encoder):
    pipeline = object_pipeline(own_encoder)
    pictures = [picture(seed) for seed in range(3)]
    together = pipeline(pictures, generator=seeds(0, 1, 2), output_type="latent")
    assert len(set(together.cu_seqlens.diff().tolist())) == 3, "different lengths, or this tests too little"
    for index, (start, end) in enumerate(zip(together.cu_seqlens, together.cu_seqlens[1:], strict=False)):
        alone = pipeline(pictures[index], generator=seeds(index), output_type="latent")
        assert torch.equal(alone.coords, together.coords[start:end])
        assert float((alone.latents - together.latents[start:end]).abs().max()) <= 1e-4


@pytest.mark.parametrize("by", ["its class", "DiffusionPipeline"])
@pytest.mark.parametrize("own_encoder", [True, False])
def test_after_save_and_load(by, own_encoder, tmp_path):
    pipeline = object_pipeline(own_encoder)
    first = pipeline(picture(), generator=seeds(0), output_type="latent")
    pipeline.save_pretrained(tmp_path)
    loaded = (ImageToObjectPipeline if by == "its class" else DiffusionPipeline).from_pretrained(tmp_path)
    assert type(loaded) is ImageToObjectPipeline
    assert loaded.config.latent_sampling == pipeline.config.latent_sampling
    loaded.set_progress_bar_config(disable=True)
    again = loaded(picture(), generator=seeds(0), output_type="latent")
    assert torch.equal(again.coords, first.coords)
    assert float((again.latents - first.latents).abs().max()) <= 1e-4


def test_several_pictures_of_an_object(pipeline):
    pictures = [picture(0), picture(1)]
    options = {"output_type": "latent", "structure_sampling": {"num_inference_steps": 1}}
    first, second = (pipeline(each, generator=seeds(0), **options) for each in pictures)
    assert not torch.equal(first.coords, second.coords)
    # One step of the structure sees the first picture alone.
    mixed = pipeline([pictures], generator=seeds(0), **options)
    assert torch.equal(mixed.coords, first.coords)
    same = pipeline([[pictures[0]] * 2], generator=seeds(0), picture_mixing="multidiffusion", **options)
    assert torch.equal(same.coords, first.coords)
    assert float((same.latents - first.latents).abs().max()) <= 1e-5


def test_statistics_are_undone(pipeline):
    states = []
    made = pipeline(
        picture(),
        generator=seeds(0),
        output_type="latent",
        callback_on_step_end=lambda pipeline, step, time, tensors: states.append(tensors["latents"]),
    )
    assert len(states) == 6 and states[0].ndim == 5
    mean, std = (torch.tensor(pipeline.latent_transformer.config[f"latents_{name}"]) for name in ("mean", "std"))
    assert torch.equal(made.latents, states[-1] * std + mean)


def test_the_null_runs_only_where_guidance_is_on(pipeline):
    conditions = []
    hook = pipeline.structure_transformer.register_forward_pre_hook(
        lambda _, args: conditions.append((float(args[1][0]), args[2] is not None))
    )
    # Times 1, 3/4, 1/2, 1/4 without a shift.
    sampling = {"num_inference_steps": 4, "shift": 1.0, "guidance_interval": [0.5, 0.75]}
    pipeline(picture(), generator=seeds(0), structure_sampling=sampling, output_type="latent")
    hook.remove()
    guided = [(750.0, True), (750.0, False), (500.0, True), (500.0, False)]
    assert conditions == [(1000.0, True), *guided, (250.0, True)]


def test_rescaled_guidance_has_the_deviation_of_the_condition():
    """By one step whose velocities are given: its data has the unguided data's deviation, and points the same way."""
    noise, with_condition, null = torch.randn(3, 2, 60, generator=seeds(0)[0]).unbind(0)
    found = {}

    class Scheduler(FlowMatchEulerDiscreteScheduler):
        def step(self, velocity, timestep, data, return_dict):
            found["velocity"] = velocity
            return (data,)

    sampling = FlowSampling(1, guidance_scale=5.0, guidance_rescale=1.0)
    sample_flow(
        Scheduler(),
        sampling,
        noise,
        lambda data, time, step: null if step is None else with_condition,
        lambda data: data.std(1, keepdim=True),
        lambda step, time, data: data,
    )
    data = clean_data(noise, found["velocity"], 1.0)
    guided = clean_data(noise, null + 5 * (with_condition - null), 1.0)
    torch.testing.assert_close(data.std(1), clean_data(noise, with_condition, 1.0).std(1))
    assert float(torch.cosine_similarity(data, guided, dim=1).min()) > 1 - 1e-6


def test_a_structure_without_voxels():
    vae = structure_vae()
    with torch.no_grad():
        vae.decoder.conv_out.bias -= 1000
    with pytest.raises(ValueError, match=r"images\[0\] must lead to a structure .* the largest logit is -1e\+03|-9"):
        object_pipeline(structure_vae=vae)(picture(), generator=seeds(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": []}, "images must be at least one picture"),
        ({"images": [picture(), picture().convert("RGB")]}, r"images\[1\] must have an alpha channel"),
        ({"images": [[picture(), picture().convert("RGB")]]}, r"images\[0\]\[1\] must have an alpha channel"),
        ({"masks": [np.zeros((3, 3), bool)]}, r"masks must have the size of images\[0\]"),
        (
            {"structure_sampling": {"steps": 3}},
            "structure_sampling must have the settings num_inference_steps, .*steps",
        ),
        ({"latent_sampling": {"num_inference_steps": 0}}, "latent_sampling: num_inference_steps must be at least 1"),
        ({"latent_sampling": {"guidance_scale": -1.0}}, "latent_sampling: guidance_scale must be at least 0"),
        ({"latent_sampling": {"guidance_interval": [0.9, 0.5]}}, "guidance_interval must be two rising times"),
        ({"latent_sampling": {"guidance_interval": 0.5}}, "latent_sampling: "),
        ({"latent_sampling": {"shift": 0.0}}, "shift must be above 0"),
        ({"latent_sampling": {"guidance_rescale": 2.0}}, "guidance_rescale must be from 0 to 1"),
        ({"picture_mixing": "mean"}, 'picture_mixing must be "stochastic" or "multidiffusion"'),
        ({"output_type": "mesh"}, 'output_type must be "gaussians" or "latent"'),
        ({"generator": seeds(0, 1)}, "generator must be one, or a list of 1"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, r"must be a list of names among latents, got \['noise'\]"),
    ],
)
def test_arguments(pipeline, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline(**{"images": picture(), **options})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"structure_vae": structure_vae(latent_channels=3)}, "structure_vae must have latent_channels 2"),
        ({"vae": tokenizer(latent_channels=6)}, "vae must have latent_channels 4, .* got 6"),
        ({"structure_transformer": structure_flow(cross_attention_dim=24)}, "cross_attention_dim 32"),
        (
            {"latent_transformer": latent_flow(cross_attention_dim=24)},
            "latent_transformer must have cross_attention_dim",
        ),
        ({"latent_transformer": latent_flow(sample_size=16)}, "latent_transformer must have sample_size 8, .* got 16"),
        ({"latent_transformer": latent_flow(vae_latents_mean=[0.0] * 4, vae_latents_std=[9.0] * 4)}, "vae must be the"),
        ({"scheduler": DDIMScheduler()}, "scheduler must take sigmas, .* got DDIMScheduler"),
        ({"picture_size": 40}, r"picture_size must be a multiple of the patch of vae, \[16, 16\], got 40"),
        ({"latent_sampling": {"w": 3}}, "latent_sampling must have the settings"),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    with pytest.raises(ValueError, match=message):
        object_pipeline(**parts)


def test_what_decoding_needs():
    pipeline = object_pipeline(vae=tokenizer(gaussian_config=None))
    with pytest.raises(ValueError, match="vae must have a Gaussian decoder, got none"):
        pipeline(picture())
    pipeline = object_pipeline(latent_transformer=latent_flow(latents_mean=None, latents_std=None))
    with pytest.raises(ValueError, match="latent_transformer must have latents_mean and latents_std in its config"):
        pipeline(picture())


def test_with_weights_offloaded():
    """On a CPU accelerate's hooks move weights off and on just the same."""
    from accelerate import cpu_offload

    pipeline = object_pipeline()
    first = pipeline(picture(), generator=seeds(0), output_type="latent").latents
    for name in ("structure_vae", "structure_transformer", "latent_transformer"):
        cpu_offload(getattr(pipeline, name), torch.device("cpu"), offload_buffers=True)
    again = pipeline(picture(), generator=seeds(0), output_type="latent").latents
    assert float((first - again).abs().max()) <= 1e-4
