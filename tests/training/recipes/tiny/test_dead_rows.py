"""Rows of zeros get noise that changes nothing, and float8 can hold what comes of it."""

import pytest
import torch
from torch import nn

from atoken.training.recipes.tiny.dead_rows import fill_dead_rows


def layer_with_a_dead_row() -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    with torch.no_grad():
        layer.weight[2] = 0
    return layer


def test_rows_of_zeros_are_filled_and_others_stay():
    layer = layer_with_a_dead_row()
    before = layer.weight.detach().clone()
    assert fill_dead_rows(layer) == 1 and fill_dead_rows(layer) == 0
    assert layer.weight[2].abs().amin() > 0
    assert torch.equal(layer.weight[[0, 1, 3]], before[[0, 1, 3]])
    torch.testing.assert_close(layer.weight, before, atol=1e-5, rtol=0)
    # Half precision of either kind keeps the row alive.
    assert all(layer.weight.to(dtype)[2].abs().amax() > 0 for dtype in (torch.float16, torch.bfloat16))


def test_float8_gives_numbers():
    quantization = pytest.importorskip("torchao.quantization")
    layer = layer_with_a_dead_row().requires_grad_(False)
    fill_dead_rows(layer)
    quantization.quantize_(layer, quantization.Float8WeightOnlyConfig())
    assert layer(torch.ones(1, 8)).isfinite().all()
