"""Gradient checkpointing recomputes activations and changes nothing else."""

import pytest
import torch

from ...modeling.helpers import as_tokens, assert_close, make_model, media, pack

KINDS = {"continuous": {}, "discrete": {"discrete": True}}


def batch():
    """A photo and a clip of more than one tile, packed."""
    return pack([as_tokens(media(1, 3, 48, 32)), as_tokens(media(20, 3, 32, 32, seed=1))])


def enable(model: torch.nn.Module, reentrant: bool) -> None:
    # Renamed in newer versions of transformers.
    method = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    method({"use_reentrant": reentrant})


def gradients(model: torch.nn.Module, inputs: tuple) -> dict[str, torch.Tensor | None]:
    model.zero_grad()
    output = model(*inputs, return_loss=True)
    (output.loss + output.pooler_output.square().mean()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (gradient is None) == (actual[name] is None), name
        if gradient is not None:
            assert_close(actual[name], gradient, 1e-6)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dense", [False, True])
def test_same_gradients(kind, reentrant, dense):
    inputs = (media(2, 20, 3, 32, 16),) if dense else batch()
    expected = gradients(make_model(**KINDS[kind]).train(), inputs)
    model = make_model(**KINDS[kind]).train()
    enable(model, reentrant)
    assert_same(gradients(model, inputs), expected)
    assert any(gradient is not None and gradient.any() for gradient in expected.values())


@pytest.mark.parametrize("reentrant", [False, True])
def test_every_block_runs_twice_and_once_after_switching_off(reentrant):
    model = make_model().train()
    blocks = [*model.vision_model.blocks, *model.decoder.blocks]
    calls = []
    for block in blocks:
        block.norm1.register_forward_hook(lambda *_: calls.append(1))
    enable(model, reentrant)
    gradients(model, batch())
    assert len(calls) == 2 * len(blocks)
    calls.clear()
    getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)()
    gradients(model, batch())
    assert len(calls) == len(blocks)


@pytest.mark.parametrize("part", ["vision_model", "decoder"])
def test_one_part_alone(part):
    """A frozen encoder in front of a decoder that learns, and the other way round."""
    results = []
    for checkpointing in (False, True):
        model = make_model().train()
        model.requires_grad_(False)
        getattr(model, part).requires_grad_(True)
        if checkpointing:
            enable(getattr(model, part), False)
        model(*batch(), return_loss=True).loss.backward()
        results.append({name: parameter.grad for name, parameter in getattr(model, part).named_parameters()})
        assert all(parameter.grad is None for name, parameter in model.named_parameters() if not name.startswith(part))
    assert_same(results[1], results[0])
