"""The order of conversations: alike in length within a batch, so that little is padded, and batches in any order."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

_POOL = 50  # batches that are filled from one drawn set of conversations


class ShuffledLengthBatches(Sampler):
    """
    Gives indices that a loader takes `batch_size` at a time; the same in every process, another order each epoch.

    Conversations are drawn into pools, sorted by length within each, and cut into batches, whose order is drawn again.
    Transformers' sampler of batches alike in length leaves them sorted: a model then sees only videos for many steps,
    only images after them, and forgets what it has not seen for a while.

    Args:
        lengths: tokens of each conversation.
        batch_size: conversations of a batch of one process.
        seed: of the orders.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = torch.as_tensor(lengths), batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100003 + self.epoch)
        drawn = torch.randperm(len(self), generator=generator)
        pools = drawn.split(_POOL * self.batch_size)
        batches = [batch for pool in pools for batch in pool[self.lengths[pool].argsort()].split(self.batch_size)]
        # The loader cuts the indices anew, so that the batches that are not full have to come last.
        full = [batch for batch in batches if len(batch) == self.batch_size]
        order = torch.randperm(len(full), generator=generator).tolist()
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        yield from torch.cat([*(full[index] for index in order), *rest]).tolist()
