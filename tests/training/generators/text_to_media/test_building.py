"""Transformers that begin with trained weights: of the same sizes, or of fewer blocks."""

from dataclasses import dataclass

import pytest
import torch

from atoken.training.generators.text_to_media.building import build_transformer
from atoken.training.generators.text_to_media.stage import TextToMediaStage


@dataclass
class Widths:
    """Stands for encoded captions, of which only the widths count."""

    widths: tuple[int, int] = (16, 24)


def transformer(num_layers: int, start=None):
    stage = TextToMediaStage("test", "tiny", 1, 1, model={"num_attention_heads": 2, "num_layers": num_layers})
    return build_transformer(stage, 4, Widths(), start)


@pytest.fixture
def trained(tmp_path):
    """A transformer of two blocks, none of whose weights is zero any longer."""
    torch.manual_seed(0)
    model = transformer(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    return model, tmp_path


def velocity(model) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(1)
    latents, states = torch.randn(2, 4, 2, 4, 4, generator=numbers), torch.randn(2, 5, 16, generator=numbers)
    mask, pooled = torch.ones(2, 5, dtype=torch.int64), torch.randn(2, 24, generator=numbers)
    return model(latents, torch.tensor([300.0, 900.0]), states, mask, pooled, return_dict=False)[0]


def test_a_deeper_transformer_begins_as_the_one_that_was_trained(trained):
    model, folder = trained
    deeper = transformer(4, folder)
    assert len(deeper.transformer_blocks) == 4
    with torch.no_grad():
        torch.testing.assert_close(velocity(deeper), velocity(model), rtol=0, atol=1e-6)
    velocity(deeper).square().mean().backward()
    # Blocks that are added are not stuck where they begin.
    for block in deeper.transformer_blocks[2:]:
        assert block.norm1.linear.weight.grad.abs().max() > 0


def test_fewer_blocks_are_refused(trained):
    _, folder = trained
    with pytest.raises(ValueError, match="another num_layers in .*: num_layers is 2, not 1"):
        transformer(1, folder)
