"""No row of a weight is all zeros: float8 scales each row by its largest value, and 0 / 0 is not a number.

Starts that are written by hand have such rows: no block writes into channels that hold constants, switches, or nothing
yet. Noise far below what matters takes the zeros' place, and training leaves protected rows as they are.
"""

import torch
from torch import nn

NOISE = 1e-6  # float16 still holds it; activations are below 1e3, so sums move by less than 0.1 % of a gray level


@torch.no_grad()
def fill_dead_rows(model: nn.Module, seed: int = 0) -> int:
    """Fills the all-zero rows of every matrix of a model with noise of standard deviation 1e-6; returns how many."""
    generator, filled = torch.Generator().manual_seed(seed), 0
    for parameter in model.parameters():
        if parameter.ndim != 2:
            continue
        dead = (parameter.abs().amax(1) == 0).nonzero().squeeze(1)
        noise = NOISE * torch.randn(len(dead), parameter.shape[1], generator=generator)
        parameter[dead] = noise.to(parameter)
        filled += len(dead)
    return filled
