"""Mixtures of sources: shares, each example in turn, and numbers alone deciding."""

import numpy as np
import pytest

from atoken.tokenizing.sources import IndexedSource
from atoken.training.data.mixing import Mixture


def mixture(*sizes: float, length: int = 10) -> Mixture:
    sources = [
        IndexedSource(str(i), lambda at, i=i: {"media": (i, at)}, length, 5, size) for i, size in enumerate(sizes)
    ]
    return Mixture(sources, seed=3)


@pytest.mark.parametrize("sizes", [(1.0, 3.0, 6.0), (5e9, 1.0, 2e4), (1.0,) * 7])
def test_sources_are_drawn_from_in_proportion_and_each_in_turn(sizes):
    source, place = mixture(*sizes).places(0, 20000)
    for which, size in enumerate(sizes):
        mine = source == which
        assert abs(mine.sum() - 20000 * size / sum(sizes)) <= len(sizes)
        assert np.array_equal(place[mine], np.arange(mine.sum()))


def test_numbers_decide_in_any_piece_however_large():
    whole = mixture(1.0, 2.0, 4.0)
    for first in (0, 12345, 2**40 - 100):
        source, place = whole.places(first, 90)
        alone = [whole.places(first + index, 1) for index in range(90)]
        assert [(int(s[0]), int(p[0])) for s, p in alone] == list(zip(source.tolist(), place.tolist(), strict=True))
    # Neighbors of any number are told apart by how often their source has been drawn from.
    source, place = whole.places(2**39, 5000)
    assert all((np.diff(place[source == which]) == 1).all() for which in range(3))


def test_every_example_comes_once_before_any_comes_again():
    whole = mixture(1.0, 1.0)
    read = [whole.read(number)["media"] for number in range(40)]
    for epoch in (read[:20], read[20:]):
        assert sorted(epoch) == [(which, index) for which in range(2) for index in range(10)]
    assert read[:20] != read[20:]


def test_a_replacement_is_another_example_of_the_same_source():
    whole = mixture(1.0, 1.0, length=1000)
    own = [whole.read(number)["media"] for number in range(30)]
    others = [[whole.read(number, attempt)["media"] for attempt in (1, 2, 3)] for number in range(30)]
    assert all(other[0] == one[0] for one, found in zip(own, others, strict=True) for other in found)
    assert all(len({one, *found}) >= 3 for one, found in zip(own, others, strict=True))
    assert others[4] == [whole.read(4, attempt)["media"] for attempt in (1, 2, 3)]


def test_sides_are_those_that_sources_know():
    whole = mixture(1.0, 1.0)
    whole.sources[1].sides = lambda place: 100.0 + place
    source, place = whole.places(6, 10)
    assert np.array_equal(whole.sides(6, 10), np.where(source == 1, 100.0 + place, np.inf))


def test_wrong_sources_are_named():
    with pytest.raises(ValueError, match="sources must be at least one, got none"):
        Mixture([], 0)
    with pytest.raises(ValueError, match=r"size of every source must be positive, got \[1.0, 0.0\]"):
        mixture(1.0, 0.0)
