"""What a trainer asks of data and of an objective; it knows nothing else of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn


class Batch(Protocol):
    """
    Describes what one forward and backward pass takes.

    Attributes:
        task: what it is for; the log's names begin with it.
        num_tokens, num_samples: how much it holds.
    """

    task: str
    num_tokens: int
    num_samples: int

    def to(self, device: torch.device) -> "Batch":
        """Gives a copy on a device."""


class Batches(Protocol):
    """Describes an endless source of steps, which can be stopped and goes on where it was."""

    def __next__(self) -> Sequence[Batch]:
        """
        Gives this process's micro batches of the next step, on the host; their losses are added.

        Every process gets as many, of the same tasks in the same order.
        """

    def counters(self) -> dict[str, float]:
        """Gives what the log says about the data so far."""

    def state(self) -> dict[str, Any]:
        """Gives what `restore` goes on from, on any number of processes; JSON-ready."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on behind the last batch before `state` was asked for."""

    def close(self) -> None:
        """Ends what reads ahead."""


@dataclass(frozen=True)
class Share:
    """
    Says what a micro batch counts. Sums of means with these factors over the micro batches of a step, averaged over
    processes as data parallelism does, are the means over all that all processes have in the step.

    Attributes:
        tokens: factor of a mean over the micro batch's tokens.
        samples: factor of a mean over its samples.
        step: number of the step, counted from 0; the same in all processes.
    """

    tokens: float
    samples: float
    step: int = 0


class Objective(Protocol):
    """
    Describes a `torch.nn.Module` that gives losses. It is one module, so that whatever wraps a model for data
    parallelism or sharding sees one forward call per batch.

    Attributes:
        model: what is trained and exported.
    """

    model: nn.Module

    def __call__(self, batch: Batch | Sequence[Batch], share: Share | None = None, common: Any = None) -> Any:
        """
        Gives "loss", to be minimized, and its parts: scalars, times the batch's share.

        Called with all micro batches of a step, which lie on the host, and without a share, it gives a list of what
        each of them is to be called with as `common`, computed without a gradient.
        """

    def count_flops(self, batch: Batch) -> float | None:
        """Counts the operations of a forward and backward pass, for the share of the device's peak; None if unknown."""

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes weights, from a state dict of the whole module, and all that goes with them, into a folder."""
