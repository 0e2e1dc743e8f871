"""Noise by counters: normal, independent, and belonging to samples alone."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from atoken.training.tokenizer.noise import sample_noise

MASK = 2**64 - 1


def _mixed(value: int) -> int:
    """SplitMix64's output function, by Python's integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def _by_hand(seed: int, number: int, place: int, channel: int, width: int) -> float:
    key = _mixed(_mixed(number + seed * 2**40))
    counter = 2 * (place * width + channel)
    first, second = ((_mixed((key + (counter + i) * 0x9E3779B97F4A7C15) & MASK) >> 40) / 2**24 for i in (1, 2))
    return math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)


def test_it_is_what_its_formula_says():
    noise = sample_noise(3, torch.tensor([5, 123456789]), torch.tensor([0, 2, 5]), 5, 4)
    for token, (number, place) in enumerate([(5, 0), (5, 1), (123456789, 0), (123456789, 1), (123456789, 2)]):
        expected = [_by_hand(3, number, place, channel, 4) for channel in range(4)]
        assert noise[token].tolist() == pytest.approx(expected, abs=1e-4)


def test_it_is_normal_and_independent():
    noise = sample_noise(0, torch.arange(50), torch.arange(51) * 100, 5000, 48)
    assert noise.dtype == torch.float32 and noise.isfinite().all()
    values = noise.double().numpy()
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
    # Between channels, neighboring tokens, samples of neighboring numbers, and seeds.
    others = sample_noise(1, torch.arange(50), torch.arange(51) * 100, 5000, 48).double().numpy()
    pairs = [(values[:, 1:], values[:, :-1]), (values[1:], values[:-1]), (values[100:], values[:-100])]
    for one, other in [*pairs, (values, others)]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01


def test_a_sample_has_the_same_in_any_batch():
    both = sample_noise(0, torch.tensor([7, 8]), torch.tensor([0, 3, 10]), 10, 12)
    assert torch.equal(both[3:], sample_noise(0, torch.tensor([8]), torch.tensor([0, 7]), 7, 12))
