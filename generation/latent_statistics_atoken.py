"""Statistics of latents: what a generator normalizes by, and which autoencoder it was trained on."""

import math
from collections.abc import Sequence
from typing import Any

import torch


def check_autoencoder(transformer: Any, vae: Any) -> None:
    """
    Checks that an autoencoder is the one whose latents or codes a generator was trained on.

    The statistics of the autoencoder's own configuration, noted when training began, have to be the same.

    Raises:
        ValueError: it is another one.
    """
    for name in ("latents_mean", "latents_std"):
        noted = transformer.config.get(f"vae_{name}")
        if noted is not None and not same_statistics(noted, getattr(vae.config, name, None)):
            raise ValueError(
                f"vae must be the autoencoder that the transformer was trained on, but its {name} differs from the "
                f"transformer's vae_{name}; load the vae that the transformer's model card names"
            )


def same_statistics(noted: Sequence[float], given: Sequence[float] | None) -> bool:
    """Tells whether two lists of numbers are the same, as far as they survive being written in another precision."""
    given = [] if given is None else list(given)
    return len(noted) == len(given) and all(map(_is_close, noted, given))


def _is_close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-4, abs_tol=1e-6)


def denormalized(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """
    Gives an autoencoder's latents of normalized ones, (B, C, H, W) fp32: latents / multiplier * std + mean.

    Raises:
        ValueError: the generator's configuration has no statistics.
    """
    if config.latents_mean is None:
        raise ValueError(
            "transformer must have latents_mean and latents_std in its config, got none; set them with "
            "transformer.register_to_config(latents_mean=[...], latents_std=[...])"
        )
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=latents.device)[:, None, None]
        for values in (config.latents_mean, config.latents_std)
    )
    return latents.float() / config.latents_multiplier * std + mean
