"""At the start every head reads one neighbor of its token."""

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.layers_atoken import apply_rotary, rotary_table
from atoken.training.recipes.tiny.neighbor_heads import DIAGONAL, NEAREST, look_at_neighbors


@pytest.mark.parametrize("part", ["vision_model", "decoder"])
@pytest.mark.parametrize("block, offsets", [(0, NEAREST), (1, DIAGONAL), (3, NEAREST)])
def test_heads_attend_to_their_offset(part, block, offsets):
    torch.manual_seed(0)
    tower = getattr(AtokenModel(AtokenConfig.from_preset("tiny")), part)
    torch.nn.init.zeros_(tower.blocks[block].attn.qkv.weight)
    look_at_neighbors(tower, [torch.arange(8, 40)])
    hidden = torch.zeros(5 * 5 * 5, 192)
    hidden[:, 0] = 1.0  # the constant
    coords = torch.cartesian_prod(torch.arange(5), torch.arange(5), torch.arange(5), torch.arange(1))
    attention = tower.blocks[block].attn
    query, key, _ = attention.qkv(hidden).unflatten(-1, (3, 6, 32)).unbind(1)
    if attention.q_norm is not None:
        query, key = attention.q_norm(query), attention.k_norm(key)
    table = rotary_table(coords, 32, tower.config.rope_theta)
    query, key = apply_rotary(query, table), apply_rotary(key, table)
    weights = torch.einsum("qhd,khd->hqk", query, key).mul(32**-0.5).softmax(-1)
    center = int((coords == torch.tensor([2, 2, 2, 0])).all(1).nonzero())
    for head, offset in enumerate(offsets):
        target = int((coords == torch.tensor([2 + offset[0], 2 + offset[1], 2 + offset[2], 0])).all(1).nonzero())
        assert weights[head, center].argmax() == target
        assert weights[head, center, target] > 0.8


def test_values_are_the_named_channels():
    tower = AtokenModel(AtokenConfig.from_preset("tiny")).decoder
    look_at_neighbors(tower, [torch.arange(8, 40), torch.arange(100, 110)])
    value = tower.blocks[2].attn.qkv.weight[2 * 192 : 2 * 192 + 32]
    read = (value > 0.5).nonzero().tolist()
    assert read == sorted([[i, 8 + i] for i in range(32)] + [[i, 100 + i] for i in range(10)])
