"""What the processes of a run tell each other between steps: numbers on the host, without waiting for a device."""

from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

# A process that has not answered by then never will.
PATIENCE = timedelta(minutes=10)


class Agreement:
    """
    Adds up numbers over all processes, by gloo and so beside whatever their devices do.

    All processes have to make one, and have to ask in the same order.
    """

    def __init__(self):
        self.processes, self.rank, self.group = 1, 0, None
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self.processes, self.rank = dist.get_world_size(), dist.get_rank()
            self.group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Gives the sums over all processes of as many numbers as each of them gives."""
        if self.group is None:
            return [float(value) for value in values]
        numbers = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(numbers, group=self.group)
        return numbers.tolist()

    def of_first(self, value: float) -> float:
        """Gives the first process's number."""
        return self.sum([value if self.rank == 0 else 0.0])[0]

    def any(self, value: bool) -> bool:
        """Tells whether it is so in any process."""
        return self.sum([value])[0] > 0

    def wait(self) -> None:
        """Waits until all processes are here."""
        self.sum([0.0])
