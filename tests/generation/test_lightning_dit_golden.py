"""Lightning-DiT against numbers of its authors' code: forward with taps, loss and gradients."""

import pytest
import torch
from diffusers.training_utils import compute_density_for_timestep_sampling

from atoken.generation import LightningDiTTransformer2DModel, convert_lightning_dit, to_official_lightning_dit
from atoken.training.generators.flow_matching import interpolate, velocity_losses

from .conftest import TOLERANCE, Golden, assert_close, relative_error


@pytest.fixture(scope="module", params=["plain", "qknorm"])
def case(request) -> tuple[Golden, LightningDiTTransformer2DModel]:
    golden = Golden("lightning_dit", request.param)
    return golden, convert_lightning_dit({"ema": golden.weights})


def test_sizes_are_read_from_tensors(case):
    golden, model = case
    names = {
        "sample_size": "input_size",
        "patch_size": "patch_size",
        "in_channels": "in_channels",
        "num_layers": "depth",
        "num_attention_heads": "num_heads",
        "num_classes": "num_classes",
        "qk_norm": "use_qknorm",
    }
    assert {ours: model.config[ours] for ours in names} == {ours: golden.config[of] for ours, of in names.items()}


def test_names_go_back(case):
    golden, model = case
    official = to_official_lightning_dit(model)
    assert official.keys() == {name for name in golden.weights if not name.startswith("feat_rope.")}
    assert all(torch.equal(value, golden.weights[name]) for name, value in official.items())


def test_positions_are_those_of_the_file(case):
    golden, model = case
    fresh = LightningDiTTransformer2DModel(**dict(model.config))
    assert_close(fresh.pos_embed.data, golden.weights["pos_embed"])


@torch.no_grad()
def test_forward(case):
    golden, model = case
    taps = {}
    hooks = [
        block.register_forward_hook(lambda _, __, output, name=f"block_{i}": taps.update({name: output}))
        for i, block in enumerate(model.transformer_blocks)
    ]
    hooks += [
        module.register_forward_hook(lambda _, __, output, name=name: taps.update({name: output}))
        for name, module in (("time_embedding", model.time_embed), ("label_embedding", model.label_embed))
    ]
    noisy, time, labels = (golden[f"forward.{name}"] for name in ("noisy", "time", "labels"))
    taps["velocity"] = model(noisy, time, labels).sample
    for hook in hooks:
        hook.remove()
    for name, value in taps.items():
        assert_close(value, golden[f"forward.{name}"])


@torch.no_grad()
def test_forward_in_half_precision(case):
    golden, model = case
    half = convert_lightning_dit(golden.weights).to(torch.bfloat16)
    inputs = golden["forward.noisy"].bfloat16(), golden["forward.time"], golden["forward.labels"]
    assert relative_error(half(*inputs).sample, golden["forward.velocity"]) < 0.02


@torch.no_grad()
def test_forward_under_autocast(case):
    golden, model = case
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(golden["forward.noisy"], golden["forward.time"], golden["forward.labels"]).sample
    assert relative_error(velocity, golden["forward.velocity"]) < 0.02


def test_loss_and_gradients(case):
    golden, model = case
    time = torch.sigmoid(golden["train.time_normal"])
    assert_close(time, golden["train.time"])
    labels = torch.where(golden["train.drop_uniform"] < 0.1, model.config.num_classes, golden["train.labels"])
    noisy, target = interpolate(golden["train.latents"], golden["train.noise"], time)
    assert_close(noisy, golden["train.noisy"])
    model.zero_grad()
    velocity = model(noisy, time, labels).sample
    assert_close(velocity.detach(), golden["train.velocity"])
    squared, cosine = velocity_losses(velocity, target)
    assert_close(squared.detach(), golden["train.mse"])
    assert_close(cosine.detach(), golden["train.cosine"])
    loss = squared.mean() + cosine.mean()
    assert_close(loss.detach()[None], golden["train.loss"])
    loss.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in zip(to_official_lightning_dit(model), model.parameters(), strict=True)
        if parameter.grad is not None
    }
    for name, expected in golden.gradients().items():
        assert_close(gradients[name], expected, relative=True)
    norm = torch.stack([value.norm() for value in gradients.values()]).norm()
    assert_close(norm[None], golden["train.grad_norm"], relative=True)


def test_gradients_with_checkpointing(case):
    golden, model = case
    inputs = golden["forward.noisy"], golden["forward.time"], golden["forward.labels"]
    found = []
    for enable in (False, True):
        model.enable_gradient_checkpointing() if enable else model.disable_gradient_checkpointing()
        model.zero_grad()
        model(*inputs).sample.square().sum().backward()
        found.append(model.transformer_blocks[0].attn.to_qkv.weight.grad.clone())
    model.disable_gradient_checkpointing()
    assert torch.equal(*found)


def test_times_of_training_are_logit_normal():
    """The density that diffusers draws is the authors': the sigmoid of a standard normal."""
    generator = torch.Generator().manual_seed(0)
    drawn = compute_density_for_timestep_sampling("logit_normal", 4096, 0.0, 1.0, generator=generator)
    expected = torch.sigmoid(torch.randn(4096, generator=torch.Generator().manual_seed(0)))
    assert float((drawn - expected).abs().max()) <= TOLERANCE


@pytest.mark.parametrize(
    ("preset", "channels", "millions"),
    [
        ("B/1", 48, 130.58),
        ("B/1", 32, 130.56),
        ("B/2", 48, 130.65),
        ("L/2", 48, 458.28),
        ("XL/1", 48, 675.29),
        ("XL/1", 32, 675.26),
        ("XL/2", 48, 675.40),
        ("1p0B/1", 48, 1029.45),
        ("1p0B/2", 48, 1029.60),
        ("1p6B/1", 48, 1631.82),
        ("1p6B/2", 48, 1632.00),
    ],
)
def test_parameters_of_presets(preset, channels, millions):
    with torch.device("meta"):
        model = LightningDiTTransformer2DModel.from_preset(preset, in_channels=channels)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions


def test_training_begins_at_zero_velocity():
    model = LightningDiTTransformer2DModel.from_preset("tiny/1", in_channels=4, sample_size=4, num_classes=3)
    velocity = model(torch.randn(2, 4, 4, 4), torch.rand(2), torch.tensor([0, 3])).sample
    assert not velocity.any()
