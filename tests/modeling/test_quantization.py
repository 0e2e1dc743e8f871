"""Finite scalar quantization: the formulas, codes and values as one bijection, precision, gradients."""

import math

import pytest
import torch

from atoken import AtokenQuantizerConfig
from atoken.quantization_atoken import AtokenQuantizer

from .helpers import assert_close, media


def quantizer(**options) -> AtokenQuantizer:
    return AtokenQuantizer(AtokenQuantizerConfig(**options))


def bounded(z: torch.Tensor, levels: int) -> torch.Tensor:
    """FSQ's formula up to the rounding, in float64."""
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    return torch.tanh(z.double() + math.atanh(offset / half)) * half - offset


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8, 15])
def test_values_and_codes_follow_the_formulas(levels):
    fsq = quantizer(num_codebooks=8, codebook_dim=3, levels=levels)
    z = 3 * torch.randn(2000, 24, generator=torch.Generator().manual_seed(0))
    exact = bounded(z, levels)
    # Values that fp32 cannot tell from the border of two levels are left out of the comparison.
    clear = ((exact - exact.floor() - 0.5).abs() > 1e-5).unflatten(-1, (8, 3))
    assert clear.float().mean() > 0.99
    expected = exact.round() / (levels // 2)
    values = fsq(z)
    assert torch.equal(
        values.double().unflatten(-1, (8, 3))[clear], expected.float().double().unflatten(-1, (8, 3))[clear]
    )
    digits = (expected * (levels // 2) + levels // 2).unflatten(-1, (8, 3))
    indices = sum(digits[..., k] * levels**k for k in range(3)).round().long()
    assert torch.equal(fsq.to_codes(values)[clear.all(-1)], indices[clear.all(-1)])
    # Every level of every channel is reached, and no other.
    assert values.unique().numel() == levels
    for channel in values.T:
        assert channel.unique().numel() == levels


def test_the_official_sizes():
    fsq = quantizer()
    assert (fsq.num_codebooks, fsq.codebook_dim, fsq.levels, fsq.codebook_size) == (8, 6, 4, 4096)
    assert not list(fsq.parameters()) and not fsq.state_dict()
    values = fsq(media(5, 48))
    assert set(values.unique().tolist()) <= {-1.0, -0.5, 0.0, 0.5}
    assert fsq.to_codes(values).shape == (5, 8)


def test_all_codes_and_values_are_one_bijection():
    fsq = quantizer()
    codes = torch.arange(4096)[:, None].expand(-1, 8)
    # Each group at its own place in the codebook, so that groups cannot be confused.
    codes = (codes + 512 * torch.arange(8)) % 4096
    values = fsq.from_codes(codes)
    assert values.shape == (4096, 48) and values.dtype == torch.float32
    assert torch.equal(fsq.to_codes(values), codes)
    assert len(values[:, :6].unique(dim=0)) == 4096


@pytest.mark.parametrize("levels,dim", [(2, 8), (3, 4), (4, 6), (5, 3), (7, 3), (1000, 1)])
def test_the_bijection_for_other_levels(levels, dim):
    fsq = quantizer(num_codebooks=2, codebook_dim=dim, levels=levels)
    codes = torch.stack([torch.arange(levels**dim), torch.arange(levels**dim).flip(0)], dim=-1)
    assert torch.equal(fsq.to_codes(fsq.from_codes(codes)), codes)


def test_the_first_channel_is_the_least_significant():
    fsq = quantizer(num_codebooks=2, codebook_dim=3, levels=4)
    assert fsq.from_codes(torch.tensor([1, 2 * 4**2 + 3])).tolist() == [-0.5, -1, -1, 0.5, -1, 0]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_types_of_codes(dtype):
    codes = torch.arange(64).view(8, 8)
    assert torch.equal(quantizer().from_codes(codes.to(dtype)), quantizer().from_codes(codes))


@pytest.mark.parametrize("levels", [3, 4])
def test_extreme_values_stay_in_the_codebook(levels):
    fsq = quantizer(num_codebooks=1, codebook_dim=2, levels=levels)
    ends = torch.tensor([[-math.inf, math.inf], [-1e30, 1e30], [-1e4, 1e4]])
    assert fsq.to_codes(fsq(ends)).tolist() == [[levels * (levels - 1)]] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32(dtype):
    fsq = quantizer()
    z = (2 * torch.randn(500, 48, generator=torch.Generator().manual_seed(1))).to(dtype)
    values = fsq(z)
    assert values.dtype == torch.float32
    assert torch.equal(values, fsq(z.float()))
    # The same formula in half precision would round some of them to a neighbor; the comparison is not empty.
    half = torch.tanh(z + fsq.shift) * fsq.half_width - fsq.offset
    assert (half.round() / 2 != values).any()
    # Four levels are exact in half precision, so codes survive a decoder's type.
    assert torch.equal(fsq.to_codes(values.to(dtype)), fsq.to_codes(values))


@pytest.mark.parametrize("levels", [4, 5])
def test_the_gradient_passes_straight_through_the_rounding(levels):
    fsq = quantizer(num_codebooks=1, codebook_dim=6, levels=levels)
    z = media(20, 6).requires_grad_()
    weights = media(20, 6, seed=1)
    (fsq(z) * weights).sum().backward()
    exact = z.detach().double().requires_grad_()
    (bounded(exact, levels) / (levels // 2) * weights.double()).sum().backward()
    assert_close(z.grad.double(), exact.grad, 1e-5)
    assert z.grad.abs().min() > 0


def test_any_leading_shape():
    fsq = quantizer()
    values = fsq(media(2, 3, 4, 5, 48))
    codes = fsq.to_codes(values)
    assert codes.shape == (2, 3, 4, 5, 8)
    assert torch.equal(fsq.from_codes(codes), values)
    assert fsq.from_codes(torch.zeros(0, 8, dtype=torch.long)).shape == (0, 48)


BAD_CODES = {
    "negative": (torch.tensor([[0] * 7 + [-1]]), r"codes must be in \[0, 4096\), got values from -1 to 0"),
    "too large": (torch.tensor([[0] * 7 + [4096]]), r"codes must be in \[0, 4096\), got values from 0 to 4096"),
    "float": (torch.zeros(1, 8), "codes must be integers, got torch.float32"),
    "bool": (torch.zeros(1, 8, dtype=torch.bool), "codes must be integers, got torch.bool"),
    "too few": (torch.zeros(1, 7, dtype=torch.long), r"codes must have shape \(\.\.\., 8\), got \(1, 7\)"),
    "a number": (torch.tensor(3), r"codes must have shape \(\.\.\., 8\), got \(\)"),
}


@pytest.mark.parametrize("kind", BAD_CODES)
def test_codes_that_do_not_fit(kind):
    codes, message = BAD_CODES[kind]
    with pytest.raises(ValueError, match=message):
        quantizer().from_codes(codes)


@pytest.mark.parametrize("channels", [47, 6, 0])
def test_values_that_do_not_fit(channels):
    with pytest.raises(ValueError, match=rf"\(\.\.\., 48\), got \(2, {channels}\)"):
        quantizer()(media(2, channels))
    with pytest.raises(ValueError, match=rf"\(\.\.\., 48\), got \(2, {channels}\)"):
        quantizer().to_codes(media(2, channels))
