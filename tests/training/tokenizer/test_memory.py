"""The estimate of memory against what blocks keep, and what follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.training.tokenizer.curriculum import Stage
from atoken.training.tokenizer.memory import KEPT, device_memory, estimate, largest_batches

STAGES = Path(__file__).parents[3] / "training/tokenizer/stages"
TOKENS = 64


def _kept_by_block(tower: torch.nn.Module) -> float:
    """Counts the bytes that autograd keeps of one block, without its weights, for each token."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.ndim > 1 and len(tensor) in (1, TOKENS):
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    held: list[torch.Tensor] = []
    features = torch.randn(TOKENS, tower.in_features, requires_grad=True)
    coords = torch.tensor([[0, index // 8, index % 8, 0] for index in range(TOKENS)])
    inputs = features, coords, torch.tensor([0, TOKENS])
    with torch.autocast("cpu", torch.bfloat16):
        tower.blocks, blocks = tower.blocks[:0], tower.blocks
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            tower(*inputs)
        without = sum(kept.values())
        kept.clear()
        tower.blocks = blocks
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            tower(*inputs)
    return (sum(kept.values()) - without) / TOKENS


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_bytes_of_a_block_are_what_autograd_keeps(part):
    size = {"hidden_size": 288, "intermediate_size": 1076, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = AtokenModel(AtokenConfig(vision_config=size, decoder_config=size, latent_channels=48))
    tower = model.vision_model if part == "encoder" else model.decoder
    by_width, by_mlp = KEPT[part]
    # Weights in bf16, of which autocast makes copies, do not grow with tokens; a kernel on a CPU keeps a little more.
    assert _kept_by_block(tower) == pytest.approx(by_width * 288 + by_mlp * 1076, rel=0.2)


def _so400m(stage: Stage) -> AtokenModel:
    with torch.device("meta"):
        return AtokenModel(AtokenConfig.from_preset("so400m", latent_channels=stage.latent_channels))


def test_so400m_needs_checkpointing_from_stage_2_on():
    """The tokens and gigabytes of docs: 32,768 tokens are 96 GB; 17 GB of states in whole copies."""
    for name, needed in (("so400m-1", False), ("so400m-2", True)):
        stage = Stage.read(STAGES / f"{name}.yaml")
        found = estimate(_so400m(stage), None, stage, processes=256, shards=1, device=80 * 10**9)
        assert found.states == pytest.approx(17e9, rel=0.1)
        assert found.needs_checkpointing == needed
        assert found.inputs < 0.25 * found.activations
    stage = Stage.read(STAGES / "so400m-2.yaml")
    found = estimate(_so400m(stage), None, stage, processes=256, shards=8, device=80 * 10**9)
    assert found.activations == pytest.approx(27 * (40.3e3 + 68.4e3) * 32768, rel=0.02)
    assert found.states == pytest.approx(17e9 / 8, rel=0.1)
    line = found.describe(True)
    assert "96.1 GB of activations" in line and "80.0 GB; gradient checkpointing is on" in line


def test_small_batches_and_unknown_devices_need_none():
    stage = Stage.read(STAGES / "so400m-1.yaml")
    small = replace(stage, batch_sizes={"image_understanding": 256, "image_reconstruction": 256})
    assert largest_batches(small, 256) == (256, 1024)
    assert not estimate(_so400m(small), None, small, 256, 1, 80 * 10**9).needs_checkpointing
    assert not estimate(_so400m(stage), None, stage, 1, 1, device_memory(torch.device("cpu"))).needs_checkpointing
