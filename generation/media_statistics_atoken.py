"""Statistics of the latents of images and of videos, which a generator of both normalizes by.

An image is one real frame and three gray ones inside a latent frame, a video's latent frames are four real ones: two
distributions, with a mean and a standard deviation by channel for each.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .latent_statistics_atoken import same_statistics

Statistics = Mapping[str, Sequence[float]]


def check_statistics(name: str, statistics: Any, channels: int) -> None:
    """
    Checks "mean" and "std" of latents.

    Raises:
        ValueError: one is missing, of another length, or not finite, or a deviation is not above 0.
    """
    if not isinstance(statistics, Mapping) or set(statistics) != {"mean", "std"}:
        given = sorted(statistics) if isinstance(statistics, Mapping) else type(statistics).__name__
        raise ValueError(f"{name} must be a mapping with mean and std, got {given}")
    for part, values in statistics.items():
        if len(values) != channels:
            raise ValueError(f"{name} must have {channels} values of {part}, one for each channel, got {len(values)}")
        if not all(map(math.isfinite, values)) or (part == "std" and min(values) <= 0):
            raise ValueError(f"{name} must have finite values, of std above 0, got {list(values)} as {part}")


def check_vae_statistics(noted: Any, vae: Any) -> None:
    """
    Checks that an autoencoder is the one whose latents a generator was trained on: its own statistics, which were noted
    when training began, have to be the same.

    Raises:
        ValueError: it is another one.
    """
    check_statistics("vae_statistics", noted, len(noted["mean"]) if isinstance(noted, Mapping) and noted else 0)
    for part in ("mean", "std"):
        if not same_statistics(noted[part], getattr(vae.config, f"latents_{part}", None)):
            raise ValueError(
                f"vae must be the autoencoder that the transformer was trained on, but its latents_{part} differs from "
                "vae_statistics; load the vae that the transformer's model card names"
            )


def denormalized_media(latents: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """Gives an autoencoder's latents of normalized ones, (B, C, T, h, w) fp32: latents * std + mean."""
    mean, std = (latents.new_tensor(statistics[part])[:, None, None, None] for part in ("mean", "std"))
    return latents * std + mean
