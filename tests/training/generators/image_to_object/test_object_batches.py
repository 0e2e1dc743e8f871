"""Batches of objects: even shares of voxels, every object once an epoch, and on from where they were."""

import numpy as np
import pytest

from atoken.training.generators.image_to_object.batches import ObjectBatches, deal

VOXELS = np.array([5, 100, 20, 40, 7, 60, 33, 90, 11, 12, 50, 70])


def batches(batch_size: int = 4, seed: int = 0, **options) -> ObjectBatches:
    def read(row, numbers):
        return row, int(numbers.integers(10**6))

    return ObjectBatches(VOXELS, read, lambda items, place: (items, place), batch_size, seed, **options)


def taken(source: ObjectBatches, steps: int) -> list:
    try:
        return [next(source) for _ in range(steps)]
    finally:
        source.close()


def rows_of(steps: list) -> list[list[int]]:
    return [[row for items, _ in parts for row, _ in items] for parts in steps]


def test_the_largest_go_to_the_least_loaded():
    # By hand: 9 -> a, 8 -> b, 7 -> b, 6 -> a, 5 -> a or b (15 each): a.
    loads = np.array([5, 9, 6, 8, 7])
    assert [each.tolist() for each in deal(loads, 2, equal=False)] == [[0, 1, 2], [3, 4]]


def test_shares_of_equal_numbers():
    loads = np.array([100, 1, 1, 1])
    assert [each.tolist() for each in deal(loads, 2, equal=False)] == [[0], [1, 2, 3]]
    first, second = deal(loads, 2, equal=True)
    assert len(first) == len(second) == 2 and sorted([*first, *second]) == [0, 1, 2, 3]


def test_voxels_of_shares_differ_by_no_more_than_the_largest_object():
    loads = np.random.default_rng(0).integers(1, 30_000, 64)
    sums = [loads[each].sum() for each in deal(loads, 4, equal=False)]
    assert max(sums) - min(sums) <= loads.max()


def test_an_epoch_has_every_object_once():
    epochs = rows_of(taken(batches(), 6))
    first, second = (sorted(sum(epochs[start : start + 3], [])) for start in (0, 3))
    assert first == second == list(range(12))
    assert epochs[:3] != epochs[3:]


def test_large_objects_are_left_out():
    source = batches(max_voxels=60)
    assert source.left_out == 3
    seen = set(sum(rows_of(taken(source, 2)), []))
    assert seen <= {row for row in range(12) if VOXELS[row] <= 60}


def test_processes_and_micro_batches_share_a_step():
    alone = rows_of(taken(batches(), 5))
    shares = [taken(batches(rank=rank, world_size=2, micro_batches=2), 5) for rank in (0, 1)]
    for step, expected in enumerate(alone):
        parts = [part for share in shares for part in share[step]]
        assert sorted(row for items, _ in parts for row, _ in items) == sorted(expected)
        assert {(place.rank, place.part) for _, place in parts} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_random_numbers_of_an_object_do_not_depend_on_who_reads_it():
    alone = {row: number for items, _ in taken(batches(), 1)[0] for row, number in items}
    shared = {}
    for rank in (0, 1):
        shared |= {row: number for items, _ in taken(batches(rank=rank, world_size=2), 1)[0] for row, number in items}
    assert shared == alone and len(set(alone.values())) == 4


def test_batches_go_on_from_their_state():
    whole = taken(batches(seed=1), 5)
    source = batches(seed=1)
    for _ in range(3):
        next(source)
    state = source.state()
    source.close()
    again = batches(seed=1)
    again.restore(state)
    assert taken(again, 2) == whole[3:]


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (13, {}, "batch_size must be from 1 to the corpus's 12 objects of at most 32768 voxels, got 13"),
        (4, {"max_voxels": 4}, "the corpus's 0 objects of at most 4 voxels"),
        (3, {"world_size": 2}, "multiple of the 2 processes"),
        (2, {"micro_batches": 4}, "at least 4 objects, one for each of micro_batches"),
    ],
)
def test_sizes_that_cannot_be(size, options, message):
    with pytest.raises(ValueError, match=message):
        batches(size, **options)
