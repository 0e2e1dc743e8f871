"""An objective with one batch that is the whole step of the only process."""

import torch
from torch import nn

from atoken.training.contracts import Batch, Share


def losses_of(objective: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Gives the loss and its parts."""
    return objective(batch, Share(1.0, 1.0), objective([batch])[0])
