"""The order in which examples of shards are handed out: told by their number, neighbors together, every epoch anew."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from atoken.tokenizing.sources import Load, Source

_EPOCHS = 2  # whose orders are kept: workers are in two where one ends


class ShardSource(Source):
    """
    Hands out examples that lie together in groups, such as the row groups of a file.

    Groups come in an order that is new in every epoch, and so do the examples of each. The examples of a group follow
    each other, so whoever makes neighboring samples reads neighboring bytes.

    Args:
        name: for messages.
        read: index of an example -> the example.
        lengths: of the groups, in which examples are counted through; none is empty.
        seed: of the order.
        size: its share of a mixture; by default the number of examples.
        side: (n,) indices of examples -> sides of their pictures in pixels, infinite where that is not known.

    Raises:
        ValueError: there is no example.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[int], dict[str, Any]],
        lengths: np.ndarray,
        seed: int,
        size: float | None = None,
        side: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.length = int(self._starts[-1])
        if self.length < 1:
            raise ValueError(f"{name}: there is nothing in it")
        self.name, self.read, self.seed, self._side = name, read, seed, side
        self.size = float(self.length if size is None else size)
        self._orders: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def draw(self, number: int) -> Load:
        """Chooses the n-th example; calling what is returned reads it."""
        index = int(self.indices(np.array([number]))[0])
        return lambda: self.read(index)

    def sides(self, numbers: np.ndarray) -> np.ndarray:
        """Tells how large pictures are: (n,) numbers of examples -> sides in pixels, infinite where not known."""
        return np.full(len(numbers), np.inf) if self._side is None else self._side(self.indices(numbers))

    def indices(self, numbers: np.ndarray) -> np.ndarray:
        """Tells which examples come n-th: (n,) int64 -> (n,) int64."""
        found = np.empty(len(numbers), dtype=np.int64)
        epochs, places = np.divmod(numbers, self.length)
        for epoch in np.unique(epochs).tolist():
            order, ends = self._order(epoch)
            mine = np.flatnonzero(epochs == epoch)
            turn = np.searchsorted(ends, places[mine], side="right")
            for each in np.unique(turn).tolist():
                group = int(order[each])
                start, end = self._starts[group], self._starts[group + 1]
                shuffled = np.random.default_rng((self.seed, epoch, group)).permutation(end - start)
                here = mine[turn == each]
                found[here] = start + shuffled[places[here] - (ends[each] - (end - start))]
        return found

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Gives the groups in the order of an epoch, and how many examples there are up to the end of each."""
        if epoch not in self._orders:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self._starts) - 1)
            self._orders[epoch] = order, np.cumsum(np.diff(self._starts)[order])
            while len(self._orders) > _EPOCHS:
                self._orders.popitem(last=False)
        return self._orders[epoch]
