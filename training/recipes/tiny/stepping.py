"""Learning rates, steps and averaged weights of trainings that last a given time."""

import math

import torch
from torch import nn

EMA_DECAY = 0.998
_LAST_SHARE = 0.02  # of the peak rate, at the end


def remember_peaks(optimizers: list[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    """Keeps every group's present rate as its "peak", for `set_rates`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], done: float, warm_up: float, first: float) -> None:
    """
    Sets the rates: a linear warm-up, then a cosine to 2 % of the peak. The budget is time, so the schedule is, too.

    Args:
        done: share of the time that has passed.
        warm_up: share of the time until the peak.
        first: share of the time that counts as passed at the start, so that the first rate is not 0.
    """
    cosine = _LAST_SHARE + (1 - _LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
    factor = min(1.0, (done + first) / warm_up) * cosine
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak"]


def descend(loss: torch.Tensor, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    """Takes a step of all optimizers down the gradient of a loss, of norm 1 at most."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, step: int) -> None:
    """Moves `averaged` towards `model`, faster in the first steps, in place."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for slow, fast in zip(averaged.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
