"""PEFT adapters on encoder and decoder: what learns, and what files and merging preserve."""

import copy

import pytest
import torch

from ...modeling.helpers import as_tokens, assert_close, make_model, media, pack
from .test_checkpointing import enable

peft = pytest.importorskip("peft")

# The projections of both halves' blocks, and not those of the pooling head.
BLOCKS = r"(vision_model|decoder)\.blocks\.\d+\.(attn\.(qkv|out_proj)|mlp\.(fc1|fc2))"
PARTS = {"both": BLOCKS, "encoder": BLOCKS.replace("|decoder", ""), "decoder": BLOCKS.replace("vision_model|", "")}


def batch():
    return pack([as_tokens(media(1, 3, 48, 32)), as_tokens(media(20, 3, 32, 32, seed=1))])


def adapt(model: torch.nn.Module, part: str = "both"):
    return peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=PARTS[part]))


def train(model: torch.nn.Module, steps: int = 3) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    inputs, losses = batch(), []
    for _ in range(steps):
        loss = model(*inputs, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@torch.no_grad()
def outputs(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    output = model.eval()(*batch())
    return output.reconstruction, output.pooler_output


def assert_same(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, tolerance)


@pytest.mark.parametrize("part", PARTS)
def test_only_adapters_learn(part):
    base = make_model()
    before = copy.deepcopy(base.state_dict())
    model = adapt(base, part).train()
    losses = train(model)
    assert losses[-1] < losses[0]
    adapters = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert adapters
    wanted = {"both": ("vision_model", "decoder"), "encoder": ("vision_model",), "decoder": ("decoder",)}[part]
    assert {name.split(".")[2] for name in adapters} == set(wanted)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name in adapters), name
        assert (parameter.grad is not None) == (name in adapters), name
    assert all(parameter.grad.any() for name, parameter in model.named_parameters() if name in adapters)
    after = model.unload().state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_saved_merged_and_reloaded(tmp_path):
    model = adapt(make_model()).train()
    train(model)
    learned = outputs(model)
    assert (learned[0] - outputs(make_model())[0]).abs().max() > 1e-3
    model.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(make_model(), tmp_path / "adapter")
    assert_same(outputs(again), learned, 1e-6)
    merged = model.merge_and_unload()
    assert type(merged) is type(make_model())
    assert_same(outputs(merged), learned, 1e-5)
    # As a plain checkpoint, without PEFT.
    merged.save_pretrained(tmp_path / "merged")
    assert_same(outputs(type(merged).from_pretrained(tmp_path / "merged")), learned, 1e-5)


def test_adapters_of_transformers(tmp_path):
    """`add_adapter` and `load_adapter` of the model itself."""
    model = make_model()
    plain = outputs(model)
    model.add_adapter(peft.LoraConfig(r=4, target_modules=BLOCKS, init_lora_weights=False))
    learned = outputs(model)
    assert (learned[0] - plain[0]).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    again = make_model()
    again.load_adapter(str(tmp_path))
    assert_same(outputs(again), learned, 1e-5)
    model.disable_adapters()
    assert_same(outputs(model), plain, 1e-6)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_with_checkpointing(part, reentrant):
    """Frozen input projections must not cut reentrant recomputation off from its gradients."""
    gradients = []
    for checkpointing in (False, True):
        base = make_model()
        if checkpointing:
            enable(base, reentrant)
        torch.manual_seed(0)
        config = peft.LoraConfig(r=4, target_modules=PARTS[part], init_lora_weights=False)
        model = peft.get_peft_model(base, config).train()
        model(*batch(), return_loss=True).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient.any(), name
        assert_close(gradients[1][name], gradient, 1e-6)
