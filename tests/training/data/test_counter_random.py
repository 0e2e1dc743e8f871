"""Random numbers by number: the same in any piece, different between purposes, even and independent."""

import numpy as np

from atoken.training.data.counter_random import CONTENTS, SIZES, generator, uniforms


def test_numbers_are_the_same_in_any_piece():
    whole = uniforms(7, SIZES, 100, 50)
    pieces = [uniforms(7, SIZES, 100, 20), uniforms(7, SIZES, 120, 1), uniforms(7, SIZES, 121, 29)]
    assert whole.shape == (50, 4) and np.array_equal(whole, np.concatenate(pieces))
    for other in (uniforms(8, SIZES, 100, 50), uniforms(7, CONTENTS, 100, 50), uniforms(7, SIZES, 2**39, 50)):
        assert not np.isin(whole, other).any()


def test_numbers_are_even_and_independent():
    drawn = uniforms(0, SIZES, 0, 20000)
    for column in drawn.T:
        counts = np.histogram(column, 20, (0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # of 19 degrees of freedom, once in a thousand
    pairs = np.concatenate([drawn, np.roll(drawn, 1, axis=0)], axis=1)
    apart = np.corrcoef(pairs, rowvar=False) - np.eye(8)
    assert np.abs(apart).max() < 4.5 / 20000**0.5


def test_generators_of_numbers_never_meet():
    drawn = [generator(3, CONTENTS, number).integers(2**63, size=1000) for number in (0, 1, 2**39)]
    assert len(np.unique(np.concatenate(drawn))) == 3000
    assert np.array_equal(generator(3, CONTENTS, 1).integers(2**63, size=1000), drawn[1])
