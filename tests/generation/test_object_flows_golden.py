"""The three models of image to 3D against numbers of TRELLIS's public code: forward, loss, gradients, samples."""

import json

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file

from atoken.generation import (
    SparseStructureFlowModel,
    StructuredLatentFlowModel,
    convert_sparse_structure_autoencoder,
    convert_sparse_structure_flow,
    convert_structured_latent_flow,
)
from atoken.generation.autoencoder_sparse_structure_atoken import occupied_voxels
from atoken.generation.flow_sampling_atoken import SIGMA_MIN, FlowSampling, clean_data, sample_flow
from atoken.generation.sparse_grid_atoken import SparseLayout

from .conftest import GOLDEN, assert_close


def stored(name: str) -> tuple[dict, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Config, weights and tensors."""
    config = json.loads((GOLDEN / f"{name}.config.json").read_text())
    return config, *(load_file(GOLDEN / f"{name}.{kind}.safetensors") for kind in ("weights", "tensors"))


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


STRUCTURE, STRUCTURE_WEIGHTS, STRUCTURE_TENSORS = stored("sparse_structure")
LATENTS, LATENT_WEIGHTS, LATENT_TENSORS = stored("slat_flow")


@pytest.fixture(scope="module")
def vae():
    return convert_sparse_structure_autoencoder(
        *(part(STRUCTURE_WEIGHTS, f"{half}.") for half in ("encoder", "decoder"))
    )


@pytest.fixture(scope="module")
def structure_flow() -> SparseStructureFlowModel:
    return convert_sparse_structure_flow(part(STRUCTURE_WEIGHTS, "flow."))


@pytest.fixture(scope="module")
def latent_flow() -> StructuredLatentFlowModel:
    return convert_structured_latent_flow(LATENT_WEIGHTS)


def packed() -> tuple[torch.Tensor, torch.Tensor]:
    """The golden voxels [sample, x, y, z] as coords [t, x, y, z] and cu_seqlens."""
    given = LATENT_TENSORS["coords"]
    counts = torch.bincount(given[:, 0])
    assert torch.equal(given[:, 0].sort().values, given[:, 0]), "the samples follow each other"
    return torch.cat([torch.zeros_like(given[:, :1]), given[:, 1:]], 1), torch.nn.functional.pad(
        counts.cumsum(0), (1, 0)
    )


def sampling_of(settings: dict) -> FlowSampling:
    return FlowSampling(
        num_inference_steps=settings["steps"],
        guidance_scale=settings["cfg_strength"] + 1,
        guidance_interval=tuple(settings["cfg_interval"]),
        shift=settings["rescale_t"],
    )


def run_sampler(model, settings: dict, noise: torch.Tensor, forward) -> tuple[list, list]:
    """States after each step, and the data that each step pointed to."""
    sampling, states, clean = sampling_of(settings), [], []
    times = sampling.times + [0.0]

    def after_step(step, timestep, data):
        before = states[-1] if states else noise
        velocity = (before - data) / (times[step] - times[step + 1])
        states.append(data)
        clean.append(clean_data(before, velocity, times[step]))
        return data

    with torch.no_grad():
        sample_flow(FlowMatchEulerDiscreteScheduler(), sampling, noise, forward, lambda data: data, after_step)
    return states, clean


@torch.no_grad()
def test_structure_autoencoder(vae):
    golden = part(STRUCTURE_TENSORS, "vae.")
    posterior = vae.encode(golden["occupancy"]).latent_dist
    assert_close(posterior.mode(), golden["mean"])
    assert_close(posterior.logvar, golden["logvar"])
    logits = vae.decode(posterior.mode()).sample
    assert_close(logits, golden["logits"])
    coords, counts = occupied_voxels(golden["logits"])
    sample = torch.repeat_interleave(torch.tensor(counts))
    expected = golden["coords"].long()
    assert torch.equal(sample, expected[:, 0]) and torch.equal(coords[:, 1:], expected[:, 1:])
    assert not coords[:, 0].any()


@torch.no_grad()
def test_losses_of_the_structure_autoencoder(vae):
    golden = part(STRUCTURE_TENSORS, "vae.")
    posterior = vae.encode(golden["occupancy"]).latent_dist
    drawn = posterior.mode() + posterior.std * golden["noise"]
    probability, truth = torch.sigmoid(vae.decode(drawn).sample), golden["occupancy"].float()
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    assert_close(dice, golden["dice"])
    kl = (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean() / 2
    assert_close(kl, golden["kl"])


@torch.no_grad()
def test_structure_flow(structure_flow):
    golden = part(STRUCTURE_TENSORS, "flow.")
    assert_close(structure_flow.time_proj(golden["t"]), golden["time_embedding"])
    assert_close(structure_flow.position_table(), STRUCTURE_WEIGHTS["flow.pos_emb"])
    velocity = structure_flow(golden["x"], golden["t"], golden["cond"]).sample
    assert_close(velocity, golden["velocity"])
    for null in (torch.zeros_like(golden["cond"]), None):
        assert_close(structure_flow(golden["x"], golden["t"], null).sample, golden["null"])
    keys = structure_flow.condition_keys(golden["cond"])
    assert torch.equal(structure_flow(golden["x"], golden["t"], keys).sample, velocity)


@torch.no_grad()
def test_latent_flow(latent_flow):
    golden, found = LATENT_TENSORS, {}
    coords, starts = packed()
    layout = SparseLayout.build(coords, starts, 64)
    cells = layout.cells.coords.int()
    sample = layout.cells.sequences.sample.int()[:, None]
    assert torch.equal(torch.cat([sample, cells], 1), golden["downsampled_coords"])

    def note(module, name):
        return module.register_forward_hook(lambda _, __, output: found.update({name: output}))

    hooks = [
        note(latent_flow.input_blocks[0], "input_block_0"),
        note(latent_flow.input_blocks[1], "downsampled"),
        note(latent_flow.transformer_blocks[0], "block_0"),
        note(latent_flow.output_blocks[0], "output_block_0"),
    ]
    found["velocity"] = latent_flow(golden["x"], coords, starts, golden["t"], golden["cond"]).sample
    for hook in hooks:
        hook.remove()
    for name, value in found.items():
        assert_close(value, golden[name])
    keys = latent_flow.condition_keys(golden["cond"])
    again = latent_flow(golden["x"], coords, starts, golden["t"], keys, layout=layout).sample
    assert torch.equal(again, found["velocity"])
    null = [
        latent_flow(golden["x"], coords, starts, golden["t"], condition).sample
        for condition in (torch.zeros_like(golden["cond"]), None)
    ]
    assert_close(*null)


def test_structure_samples(structure_flow):
    noise, cond = STRUCTURE_TENSORS["sample.noise"], STRUCTURE_TENSORS["flow.cond"]

    def forward(condition):
        keys = structure_flow.condition_keys(condition)

        def velocity(data, time, step):
            times = torch.full((len(data),), 1000 * time, dtype=torch.float32)
            return structure_flow(data, times, None if step is None else keys).sample

        return velocity

    states, clean = run_sampler(structure_flow, STRUCTURE["ss_sampler"], noise, forward(cond))
    for step, (state, data) in enumerate(zip(states, clean, strict=True), 1):
        assert_close(state, STRUCTURE_TENSORS[f"sample.x_{step}"])
        assert_close(data, STRUCTURE_TENSORS[f"sample.x0_{step}"], relative=True)
    states, _ = run_sampler(structure_flow, STRUCTURE["ss_sampler"], noise, forward(cond[:1]))
    assert_close(states[-1], STRUCTURE_TENSORS["sample.one_condition"])


def test_latent_samples(latent_flow):
    golden = LATENT_TENSORS
    coords, starts = packed()
    layout, keys = SparseLayout.build(coords, starts, 64), latent_flow.condition_keys(golden["cond"])

    def velocity(data, time, step):
        times = torch.full((2,), 1000 * time, dtype=torch.float32)
        return latent_flow(data, coords, starts, times, None if step is None else keys, layout=layout).sample

    states, clean = run_sampler(latent_flow, LATENTS["slat_sampler"], golden["sample.noise"], velocity)
    for step, (state, data) in enumerate(zip(states, clean, strict=True), 1):
        assert_close(state, golden[f"sample.x_{step}"])
        assert_close(data, golden[f"sample.x0_{step}"], relative=True)
    latents = states[-1] * golden["normalization.std"] + golden["normalization.mean"]
    assert_close(latents, golden["sample.latents"], relative=True)


def training_pair(golden: dict[str, torch.Tensor], time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model sees, and the velocity that it is to give, at times that broadcast."""
    data, noise = golden["x0"], golden["noise"]
    noisy = (1 - time) * data + (SIGMA_MIN + (1 - SIGMA_MIN) * time) * noise
    target = (1 - SIGMA_MIN) * noise - data
    assert_close(noisy, golden["xt"])
    assert_close(target, golden["velocity"])
    return noisy, target


def assert_gradients(model, golden: dict[str, torch.Tensor], ours: dict[str, str]) -> None:
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = part(golden, "grad.")
    assert expected.keys() == ours.keys()
    for released, name in ours.items():
        assert_close(gradients[name], expected[released], relative=True)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_structure_training(structure_flow, checkpointing):
    golden = part(STRUCTURE_TENSORS, "train.")
    noisy, target = training_pair(golden, golden["t"].view(-1, 1, 1, 1, 1))
    structure_flow.train().zero_grad()
    structure_flow.enable_gradient_checkpointing() if checkpointing else None
    prediction = structure_flow(noisy, 1000 * golden["t"], STRUCTURE_TENSORS["flow.cond"]).sample
    loss = (prediction - target).square().mean()
    loss.backward()
    structure_flow.disable_gradient_checkpointing()
    structure_flow.eval()
    assert_close(loss.detach(), golden["loss"])
    names = {"input_layer.weight": "proj_in.weight", "t_embedder.mlp.0.bias": "time_embed.linear_1.bias"}
    assert_gradients(structure_flow, golden, names)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_latent_training(latent_flow, checkpointing):
    golden = part(LATENT_TENSORS, "train.")
    coords, starts = packed()
    noisy, target = training_pair(golden, torch.repeat_interleave(golden["t"], starts.diff())[:, None])
    latent_flow.train().zero_grad()
    latent_flow.enable_gradient_checkpointing() if checkpointing else None
    prediction = latent_flow(noisy, coords, starts, 1000 * golden["t"], LATENT_TENSORS["cond"]).sample
    loss = (prediction - target).square().mean()
    loss.backward()
    latent_flow.disable_gradient_checkpointing()
    latent_flow.eval()
    assert_close(loss.detach(), golden["loss"])
    names = {
        "input_layer.weight": "proj_in.weight",
        "t_embedder.mlp.0.bias": "time_embed.linear_1.bias",
        "input_blocks.0.conv1.conv.weight": "input_blocks.0.conv1.weight",
    }
    assert_gradients(latent_flow, golden, names)


@torch.no_grad()
def test_flows_in_half_precision():
    golden = part(STRUCTURE_TENSORS, "flow.")
    half = convert_sparse_structure_flow(part(STRUCTURE_WEIGHTS, "flow.")).bfloat16()
    found = {"structure": (half(golden["x"].bfloat16(), golden["t"], golden["cond"]).sample, golden["velocity"])}
    half = convert_structured_latent_flow(LATENT_WEIGHTS).bfloat16()
    coords, starts = packed()
    tensors = LATENT_TENSORS
    sample = half(tensors["x"].bfloat16(), coords, starts, tensors["t"], tensors["cond"]).sample
    found["latents"] = (sample, tensors["velocity"])
    for sample, expected in found.values():
        error = (sample.float() - expected).square().mean().sqrt() / expected.std()
        assert float(error) < 0.02


def test_times_are_the_authors():
    for steps, shift in ((25, 3.0), (12, 5.0), (50, 1.0)):
        even = np.linspace(1, 0, steps + 1)[:-1]
        expected = shift * even / (1 + (shift - 1) * even)
        assert np.allclose(FlowSampling(num_inference_steps=steps, shift=shift).times, expected, rtol=0, atol=1e-15)
    assert sampling_of(LATENTS["slat_sampler"]).times[3] == 0.5  # an end of the interval, which is included
    assert sampling_of(LATENTS["slat_sampler"]).is_guided(0.5)
