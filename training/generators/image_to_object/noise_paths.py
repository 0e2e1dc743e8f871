"""The straight way from data to noise that image to 3D learns, with a little noise left in the data (TRELLIS)."""

import torch

from atoken.generation.flow_sampling_atoken import SIGMA_MIN

from .stage import ObjectStage


def noised(data: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Mixes data and noise.

    Args:
        data, noise: of one shape.
        time: in [0, 1], where 1 is noise, in a shape that multiplies them.

    Returns:
        (1 - t) data + (s + (1 - s) t) noise with s = 1e-5, and the velocity (1 - s) noise - data.
    """
    left = 1 - SIGMA_MIN
    return (1 - time) * data + (SIGMA_MIN + left * time) * noise, left * noise - data


def draw_times(count: int, stage: ObjectStage, generator: torch.Generator) -> torch.Tensor:
    """Draws (count,) times in [0, 1]: the sigmoid of normal numbers, or uniform ones."""
    if stage.times == "uniform":
        return torch.rand(count, generator=generator, device=generator.device)
    return torch.sigmoid(torch.randn(count, generator=generator, device=generator.device) + stage.logit_mean)


def drop_conditions(conditions: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Lets a share of conditions (B, M, c) become zeros, each by itself."""
    dropped = torch.rand(len(conditions), generator=generator, device=conditions.device) < share
    return torch.where(dropped[:, None, None], 0.0, conditions)
