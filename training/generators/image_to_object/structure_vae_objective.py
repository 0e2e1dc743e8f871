"""What the structure VAE learns: which voxels of a grid are occupied (TRELLIS; AToken paper, section 5.5)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from atoken.generation import SparseStructureAutoencoder

from ...contracts import Share
from ..lightning_dit_objective import save_generator, seed_of
from .batches import Grids, Place
from .stage import ObjectStage


class StructureVaeObjective(nn.Module):
    """
    Minimizes the Dice loss of occupancy, and a little of the latents' divergence from a standard normal.

    Args:
        model: the autoencoder.
        stage: says how much the divergence and the cross-entropy count.
        seed: of the latents' noise, which follows from it and a batch's place.
    """

    def __init__(self, model: SparseStructureAutoencoder, stage: ObjectStage, seed: int = 0):
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block

    def forward(
        self, batch: Grids | Sequence[Grids], share: Share | None = None, common: None = None
    ) -> dict[str, torch.Tensor] | list[None]:
        """
        Gives "loss", "dice", "cross_entropy" and "kl": scalars, times the batch's share; see
        `training.contracts.Objective`.
        """
        if share is None:
            return [None for _ in batch]
        posterior = self.model.encode(batch.data).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        generator = numbers_of(batch.place, self.seed, batch.data.device)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        logits = self.model.decode(mean + (logvar / 2).exp() * noise).sample
        dice, kl = dice_loss(logits, batch.data), divergence(mean, logvar)
        entropy = functional.binary_cross_entropy_with_logits(logits.float(), batch.data)
        loss = dice + self.stage.kl_weight * kl + self.stage.cross_entropy_weight * entropy
        parts = {"dice": dice.detach(), "cross_entropy": entropy.detach(), "kl": kl.detach()}
        return {name: share.samples * part for name, part in ({"loss": loss} | parts).items()}

    def count_flops(self, batch: Grids) -> float | None:
        """Says that they are not counted."""
        return None

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the autoencoder into a folder."""
        save_generator(self.model, state, folder)


def dice_loss(logits: torch.Tensor, occupancy: torch.Tensor) -> torch.Tensor:
    """
    Compares occupied voxels of a whole batch together: 1 - (2 sum(p s) + 1) / (sum(p) + sum(s) + 1), p the sigmoid.

    Args:
        logits, occupancy: (B, 1, X, Y, Z); occupancy s is 0 or 1.
    """
    found = logits.float().sigmoid()
    return 1 - (2 * (found * occupancy).sum() + 1) / (found.sum() + occupancy.sum() + 1)


def divergence(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Gives the mean over all elements of (mean^2 + exp(logvar) - 1 - logvar) / 2."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def numbers_of(place: Place, seed: int, device: torch.device) -> torch.Generator:
    """Gives the random numbers of a batch, on a device."""
    return torch.Generator(device).manual_seed(seed_of(seed, place.rank, place.step, place.part))
