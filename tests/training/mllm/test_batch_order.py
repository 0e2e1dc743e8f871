"""The order of conversations: each once, batches alike in length, neighbors not."""

import numpy as np

from atoken.training.mllm.batch_order import ShuffledLengthBatches

LENGTHS = np.random.default_rng(0).integers(1, 4, 1001) * 100


def batches(sampler: ShuffledLengthBatches) -> list[list[int]]:
    order = list(sampler)
    return [order[start : start + sampler.batch_size] for start in range(0, len(order), sampler.batch_size)]


def test_each_once_and_the_last_batch_is_the_one_that_is_not_full():
    sampler = ShuffledLengthBatches(LENGTHS.tolist(), 8, seed=0)
    made = batches(sampler)
    assert len(sampler) == 1001 and sorted(index for batch in made for index in batch) == list(range(1001))
    assert [len(batch) for batch in made[:-1]] == [8] * 125


def test_batches_are_alike_in_length_and_lengths_take_turns():
    means = np.array([LENGTHS[batch].mean() for batch in batches(ShuffledLengthBatches(LENGTHS.tolist(), 8, seed=0))])
    spread = np.mean([np.ptp(LENGTHS[batch]) for batch in batches(ShuffledLengthBatches(LENGTHS.tolist(), 8, seed=0))])
    assert spread < 20  # of 200
    # Of batches in any order, about as many neighbors differ as of drawn ones: two of three.
    assert 0.5 < np.mean(np.diff(means.round(-2)) != 0) < 0.85


def test_orders_depend_on_the_seed_and_the_epoch():
    first, again, other = (ShuffledLengthBatches(LENGTHS.tolist(), 8, seed) for seed in (0, 0, 1))
    assert list(first) == list(first) == list(again) != list(other)
    again.set_epoch(1)
    assert list(first) != list(again)
