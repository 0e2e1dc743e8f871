"""The largest norm that a step's gradient may have, which may follow the norms of the steps before."""

from collections import deque
from typing import Any

import numpy as np

WINDOW = 1000  # norms that a percentile is of


class GradientClip:
    """
    Says at which norm gradients are cut: a fixed one, or a percentile of the last 1,000 norms if that is lower.

    Until there are 1,000 norms it is the fixed one, as TRELLIS does it (Xiang et al., 2024). All processes have the
    same norms, so they agree.

    Args:
        most: the fixed norm.
        percentile: from 0 to 100, or None for the fixed norm alone.
    """

    def __init__(self, most: float, percentile: float | None = None):
        self.most, self.percentile = most, percentile
        self._norms: deque[float] = deque(maxlen=WINDOW)

    @property
    def follows(self) -> bool:
        """Tells whether norms have to be noted, for which the host waits for the device."""
        return self.percentile is not None

    def norm(self) -> float:
        """Gives the largest norm of the next step."""
        if self.percentile is None or len(self._norms) < WINDOW:
            return self.most
        return min(self.most, float(np.percentile(self._norms, self.percentile)))

    def note(self, norm: float) -> None:
        """Takes the norm of a step, before it was cut; one that is not finite is passed over."""
        if np.isfinite(norm):
            self._norms.append(norm)

    def state(self) -> list[float]:
        """Gives the norms, JSON-ready."""
        return list(self._norms)

    def restore(self, state: Any) -> None:
        """Goes on from a `state()`."""
        self._norms = deque(state or [], maxlen=WINDOW)
