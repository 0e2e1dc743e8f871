"""Rows of codes that begin with what their digits share."""

import pytest
import torch

from atoken.training.generators.code_start import share_digits

from ...generation.helpers import token_bridge


def test_a_digit_adds_the_same_to_every_code():
    torch.manual_seed(0)
    model = token_bridge(codebook_size=4096, code_channels=6, head_hidden_size=64)
    share_digits(model)
    for weights in (model.head.code_embeds[0].weight, model.head.code_outputs[1].weight):
        for digit in range(6):
            # (higher digits, this digit, lower digits, q), the least significant digit last.
            rows = weights.detach().reshape(4 ** (5 - digit), 4, 4**digit, -1)
            steps = rows[:, 1:] - rows[:, :1]
            torch.testing.assert_close(steps, steps[:1, :, :1].expand_as(steps), rtol=0, atol=1e-5)
            assert (steps.abs().amax((0, 2, 3)) > 0.01).all()
    assert float(model.head.code_embeds[0].weight.std()) == pytest.approx(1.0, rel=0.25)
    assert float(model.head.code_outputs[1].weight.std()) == pytest.approx(1 / 8, rel=0.25)
    # No two tables are alike.
    assert not torch.equal(model.head.code_outputs[0].weight, model.head.code_outputs[1].weight)


def test_codes_without_digits():
    with pytest.raises(ValueError, match="model must have code_levels, so that codes have digits, got None"):
        share_digits(token_bridge(code_levels=None, code_channels=1, codebook_size=16))
