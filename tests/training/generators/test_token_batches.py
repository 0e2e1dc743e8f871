"""Batches of tokens: every row once an epoch, whatever the number of processes, and on from where they were."""

import numpy as np
import pytest
import torch

from atoken.training.generators.token_batches import TokenBatches, TokensInMemory


class Rows:
    """Stands for a corpus: the latent of a row is its number."""

    def __init__(self, count: int, codes: bool = False):
        self.count, self.codes, self.reads = count, codes, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        self.reads += 1
        if self.codes:
            return {"codes": torch.full((2, 3, 4), index), "label": index % 3}
        return {"latents": torch.full((4, 2, 2), float(index)), "label": index % 3}


def rows(batches: TokenBatches, steps: int) -> list[list[int]]:
    try:
        return [next(batches)[0].tokens.flatten(1)[:, 0].int().tolist() for _ in range(steps)]
    finally:
        batches.close()


def test_an_epoch_has_every_row_once():
    epochs = rows(TokenBatches(Rows(12), 4, seed=0), 6)
    first, second = (sorted(sum(epochs[start : start + 3], [])) for start in (0, 3))
    assert first == second == list(range(12))
    assert epochs[:3] != epochs[3:]


def test_processes_share_a_step():
    alone = rows(TokenBatches(Rows(12), 4, seed=3), 5)
    shares = [rows(TokenBatches(Rows(12), 4, seed=3, rank=rank, world_size=2), 5) for rank in (0, 1)]
    assert [first + second for first, second in zip(*shares, strict=True)] == alone


def test_batches_go_on_from_their_state():
    whole = rows(TokenBatches(Rows(10), 4, seed=1), 5)
    batches = TokenBatches(Rows(10), 4, seed=1)
    for _ in range(3):
        next(batches)
    state = batches.state()
    batches.close()
    again = TokenBatches(Rows(10), 4, seed=1)
    again.restore(state)
    assert rows(again, 2) == whole[3:]


def test_what_a_batch_holds():
    batches = TokenBatches(Rows(6, codes=True), 2, seed=0)
    (batch,) = next(batches)
    batches.close()
    assert batch.tokens.shape == (2, 6, 4) and batch.tokens.dtype == torch.int64
    assert torch.equal(batch.labels, batch.tokens[:, 0, 0] % 3)
    assert batch.num_samples == 2 and batch.num_tokens == 12 and batch.step == 0
    latents = TokenBatches(Rows(6), 2, seed=0)
    (batch,) = next(latents)
    latents.close()
    assert batch.tokens.shape == (2, 4, 2, 2) and batch.num_tokens == 8


@pytest.mark.parametrize("codes", [False, True])
def test_rows_in_memory_are_read_once(codes):
    corpus = Rows(5, codes)
    held = TokensInMemory(corpus)
    for index in (3, 3, 0):
        expected = Rows(5, codes)[index]
        found = held[index]
        assert found["label"] == expected["label"]
        name = "codes" if codes else "latents"
        assert torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype
    assert corpus.reads == 5 and len(held) == 5


@pytest.mark.parametrize(
    ("size", "world", "message"),
    [(13, 1, "batch_size must be from 1 to the corpus's 12 rows, got 13"), (3, 2, "multiple of the 2 processes")],
)
def test_sizes_that_cannot_be(size, world, message):
    with pytest.raises(ValueError, match=message):
        TokenBatches(Rows(12), size, seed=0, world_size=world)


def test_orders_of_other_seeds_differ():
    orders = {tuple(np.concatenate(rows(TokenBatches(Rows(12), 6, seed=seed), 2))) for seed in range(4)}
    assert len(orders) == 4
