"""Flow matching between noise and data, as Lightning-DiT is trained (Yao et al., 2025; AToken paper, section 5.2)."""

import torch
from torch.nn import functional as F

SMALLEST_NORM = 1e-8  # of a vector whose direction is compared


def interpolate(latents: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Mixes data and noise.

    Args:
        latents: (B, ...) normalized data.
        noise: of the same shape.
        time: (B,) in [0, 1], where 1 is data.

    Returns:
        The mixture and the velocity from noise to data, both of the same shape.
    """
    share = time.view(-1, *[1] * (latents.ndim - 1))
    return share * latents + (1 - share) * noise, latents - noise


def velocity_losses(prediction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Compares velocities by length and by direction.

    Args:
        prediction, target: (B, C, H, W).

    Returns:
        Of each image, (B,) fp32: the mean squared error, and the mean over positions of 1 - cosine along channels.
        Their sum is minimized.
    """
    prediction, target = prediction.float(), target.float()
    squared = (prediction - target).square().flatten(1).mean(1)
    cosine = F.cosine_similarity(prediction, target, dim=1, eps=SMALLEST_NORM)
    return squared, (1 - cosine).flatten(1).mean(1)
