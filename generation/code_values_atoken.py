"""What codes stand for: the channel values that generators of codes take in."""

import math

import torch

NORMAL_RANGE, LATENT_RANGE = 3.0, 5.0  # TokenBridge's: a latent of [-5, 5] is seen as a normal deviate of [-3, 3]


def fsq_code_values(levels: int, channels: int) -> torch.Tensor:
    """
    Computes the values of finite scalar quantization's codes.

    Args:
        levels: L of each channel.
        channels: c that make one code.

    Returns:
        (L ** c, c) fp32 in [-1, 1]: digit k of a code, the least significant first, is channel k's level.
    """
    half = levels // 2
    digits = torch.arange(levels**channels)[:, None] // levels ** torch.arange(channels) % levels
    return (digits - half) / half


def normal_code_values(levels: int) -> torch.Tensor:
    """
    Computes TokenBridge's values: means of a standard normal in cells of equal probability within three deviations.

    Returns:
        (levels, 1) fp32 in [-5, 5], rising.
    """
    edges = torch.special.ndtri(torch.linspace(0, 1, levels + 1, dtype=torch.float64))
    edges = edges.clamp(-NORMAL_RANGE, NORMAL_RANGE)
    density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
    mass = torch.special.ndtr(edges).diff()
    means = -density.diff() / mass
    return (means * LATENT_RANGE / NORMAL_RANGE).float()[:, None]


def nearest_codes(latents: torch.Tensor, code_values: torch.Tensor) -> torch.Tensor:
    """
    Gives the codes whose values are nearest, for codes of one channel each.

    Args:
        latents: (..., G) real values.
        code_values: (V, 1), rising.

    Returns:
        (..., G) int64.
    """
    values = code_values[:, 0].to(latents.device, latents.dtype)
    return torch.bucketize(latents.contiguous(), (values[1:] + values[:-1]) / 2)
