"""Which source a sample comes from, and which of its examples: told by the sample's number alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from atoken.tokenizing.sources import Source

from .counter_random import REPLACEMENTS, generator

# Shares are whole multiples of 2**-23, so that shares times numbers below 2**40 are exact integers.
_SHARE_BITS = 23


class Mixture:
    """
    Draws from sources, from each in proportion to its size.

    Sources take turns as evenly as can be: each of n has been drawn from its share of the numbers so far, to within n,
    and always with its next example. So every example comes once before any comes again.

    Args:
        sources: what is mixed; each must give its n-th example without having given those before.
        seed: of replacements.

    Raises:
        ValueError: no sources, or one without a size.
    """

    def __init__(self, sources: Sequence[Source], seed: int):
        if not sources:
            raise ValueError("sources must be at least one, got none")
        sizes = np.array([source.size for source in sources], dtype=np.float64)
        if sizes.min() <= 0:
            raise ValueError(f"size of every source must be positive, got {sizes.tolist()}")
        self.sources, self.seed = list(sources), seed
        # Of each source: its share of what those before it leave.
        left = np.cumsum(sizes[::-1])[::-1]
        self._shares = np.clip(np.round(sizes / left * 2**_SHARE_BITS), 1, 2**_SHARE_BITS).astype(np.int64)

    def places(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Tells where samples come from.

        Args:
            first, count: the numbers from `first` on; below 2**40.

        Returns:
            The source of each, and how many samples that source has given before.
        """
        left = first + np.arange(count, dtype=np.int64)
        source = np.full(count, len(self.sources) - 1)
        place = np.zeros(count, dtype=np.int64)
        open_ = np.ones(count, dtype=bool)
        for which, share in enumerate(self._shares[:-1]):
            # A source with the share p is given the numbers n at which n p reaches the next integer.
            before = left * share >> _SHARE_BITS
            mine = open_ & ((left + 1) * share >> _SHARE_BITS > before)
            source[mine], place[mine] = which, before[mine]
            open_ &= ~mine
            left = np.where(open_, left - before, left)
        place[open_] = left[open_]
        return source, place

    def read(self, number: int, attempt: int = 0) -> dict[str, Any]:
        """
        Reads the example of a sample.

        Args:
            number: of the sample.
            attempt: 0 for its own example; others give another example of the same source, in place of a damaged one.
        """
        source, place = (int(values[0]) for values in self.places(number, 1))
        if attempt:
            place = int(generator(self.seed, REPLACEMENTS, number).integers(2**40, size=attempt)[-1])
        return self.sources[source].draw(place)()

    def sides(self, first: int, count: int) -> np.ndarray:
        """
        Tells how large pictures are as they are stored, where their source knows without reading them.

        Returns:
            (count,) float64 geometric means of the sides in pixels; infinite where that is not known.
        """
        source, place = self.places(first, count)
        sides = np.full(count, np.inf)
        for which, each in enumerate(self.sources):
            known = getattr(each, "sides", None)
            mine = source == which
            if known is not None and mine.any():
                sides[mine] = known(place[mine])
        return sides
