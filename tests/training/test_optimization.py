"""Rates, groups, decay and averages of an optimizer."""

import copy
import math

import pytest
import torch
from torch import nn

from atoken import AtokenModel
from atoken.generation import SparseStructureFlowModel, TokenBridgeModel
from atoken.training.optimization import AveragedWeights, OptimizerSettings, build_optimizer, set_rates

from .stage_samples import make_start


def test_linear_warm_up_then_cosine_to_a_tenth():
    settings = OptimizerSettings()
    assert settings.factor(0, 200000) == pytest.approx(1 / 2000)
    assert settings.factor(999, 200000) == pytest.approx(0.5)
    assert settings.factor(2000, 200000) == pytest.approx(1)
    middle = settings.factor(101000, 200000)
    assert middle == pytest.approx((3e-4 + 3e-5) / 2 / 3e-4)
    quarter = 3e-5 + (3e-4 - 3e-5) * 0.5 * (1 + math.cos(math.pi / 4))
    assert settings.factor(2000 + 49500, 200000) * 3e-4 == pytest.approx(quarter)
    assert settings.factor(200000, 200000) * 3e-4 == pytest.approx(3e-5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return AtokenModel.from_pretrained(make_start(tmp_path_factory.mktemp("start"), gaussians=True))


def group_of(optimizer, parameter):
    [group] = [group for group in optimizer.param_groups if any(parameter is each for each in group["params"])]
    return group


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_parameter_has_its_rate_and_decay(model, kind):
    settings = OptimizerSettings(kind, encoder_factor=0.1, edge_factor=0.5, adamw_rate=1e-4)
    optimizer = build_optimizer(model, settings)
    listed = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(listed) == len(set(listed)) == len(list(model.parameters()))
    peak = 3e-4 if kind == "adamw" else 1e-4
    encoder, decoder = model.vision_model, model.decoder
    for parameter, rate, decay in [
        (encoder.blocks[0].mlp.fc1.weight, 3e-5, 0.1 if kind == "adamw" else 0.0),
        (decoder.blocks[0].mlp.fc1.weight, 3e-4, 0.1 if kind == "adamw" else 0.0),
        (encoder.blocks[0].mlp.fc1.bias, 0.1 * peak, 0.0),
        (encoder.post_layernorm.weight, 0.05 * peak, 0.0),
        (encoder.head.probe, 0.1 * peak, 0.0),
        (encoder.position_embedding.weight, 0.1 * peak, 0.0),
        (decoder.out_layer.weight, 0.5 * peak, 0.1),
        (decoder.out_norm.weight, 0.5 * peak, 0.0),
        (decoder.blocks[0].attn.q_norm.weight, 0.5 * peak, 0.0) if kind == "adamw" else (model.logit_bias, peak, 0.0),
        (model.logit_scale, peak, 0.0),
    ]:
        group = group_of(optimizer, parameter)
        assert (group["lr"], group.get("weight_decay", 0.0)) == (pytest.approx(rate), decay)
    set_rates(optimizer, 0.25)
    assert all(group["lr"] == 0.25 * group["peak"] for group in optimizer.param_groups)


def test_muon_updates_matrices_of_generators_blocks_too():
    bridge = TokenBridgeModel.from_preset("tiny", sample_size=2, num_classes=2)
    flow = SparseStructureFlowModel.from_preset("tiny", sample_size=4, in_channels=2, num_layers=1)
    settings = OptimizerSettings("muon", rate=3e-4, adamw_rate=1e-4)
    for model, by_muon, by_adamw in [
        (bridge, bridge.encoder_blocks[0].mlp.fc1.weight, bridge.class_embed.weight),
        (bridge, bridge.head.blocks[0].attn.to_qkv.weight, bridge.head.code_outputs[0].weight),
        (flow, flow.transformer_blocks[0].attn.to_qkv.weight, flow.transformer_blocks[0].attn.norm_q.weight),
    ]:
        optimizer = build_optimizer(model, settings)
        assert (group_of(optimizer, by_muon)["lr"], group_of(optimizer, by_adamw)["lr"]) == (3e-4, 1e-4)
        assert by_adamw.ndim == 2


def test_two_optimizers_behave_and_save_as_one():
    def make():
        torch.manual_seed(0)
        net = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(4, 4)])})
        holder = nn.Module()
        holder.tower = net
        return holder, build_optimizer(holder, OptimizerSettings("muon", rate=0.01, final_rate=0.0))

    def step(net, optimizer):
        optimizer.zero_grad()
        net.tower["blocks"][0](torch.ones(2, 4)).square().sum().backward()
        optimizer.step()

    first, optimizer = make()
    for _ in range(3):
        step(first, optimizer)
    second, again = make()
    second.load_state_dict(first.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(first, optimizer)
    step(second, again)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_averages_follow_their_formula_and_swap_back_exactly():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    average = AveragedWeights(net, 0.9)
    expected = net.weight.detach().double().clone()
    for step in range(1, 30):
        with torch.no_grad():
            net.weight.add_(torch.randn(2, 3))
        average.update(net, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net.weight.detach().double()
    torch.testing.assert_close(average.values["weight"].double(), expected, rtol=1e-5, atol=1e-6)
    assert set(average.values) == {"weight"}
    before, kept = net.weight.detach().clone(), average.values["weight"].clone()
    average.swap(net)
    assert torch.equal(net.weight, kept)
    average.swap(net)
    assert torch.equal(net.weight, before) and torch.equal(average.values["weight"], kept)


def test_averages_are_of_their_own_parameters_in_whatever_order_they_are_kept():
    net = nn.ModuleDict({"z": nn.Linear(2, 2, bias=False), "a": nn.Linear(2, 2, bias=False)})
    average = AveragedWeights(net, 0.5, ramp=False)
    average.values = dict(sorted(average.values.items()))
    before = {name: value.double() for name, value in average.values.items()}
    with torch.no_grad():
        net["z"].weight.add_(100.0)
    average.update(net, 1)
    torch.testing.assert_close(average.values["z.weight"].double(), before["z.weight"] + 50.0)
    torch.testing.assert_close(average.values["a.weight"].double(), before["a.weight"])


@pytest.mark.parametrize(
    "values, message",
    [
        ({"kind": "sgd"}, "kind must be"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"final_rate": 1.0}, "final_rate must be from 0 to rate"),
        ({"average": 1.0}, "average must be from 0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"warm_up": -1}, "warm_up must be at least 0"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**values)
