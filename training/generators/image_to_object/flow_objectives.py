"""What both stages of image to 3D learn: velocities from data to noise, of structures and of voxels' latents.

As TRELLIS trains them (Xiang et al., 2024), whose settings the paper takes over (section 5.5).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from atoken.generation import SparseStructureFlowModel, StructuredLatentFlowModel

from ...contracts import Share
from .batches import Grids, VoxelLatents
from .noise_paths import draw_times, drop_conditions, noised
from .stage import ObjectStage
from .starts import save_trained
from .structure_vae_objective import numbers_of


class StructureFlowObjective(nn.Module):
    """
    Minimizes the squared error of velocities of structure latents.

    Args:
        model: the first stage.
        stage: says how times are drawn and conditions are dropped.
        seed: of noise, times and dropped conditions, which follow from it and a batch's place.
    """

    def __init__(self, model: SparseStructureFlowModel, stage: ObjectStage, seed: int = 0):
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block

    def forward(
        self, batch: Grids | Sequence[Grids], share: Share | None = None, common: None = None
    ) -> dict[str, torch.Tensor] | list[None]:
        """Gives "loss": a scalar, times the batch's share; see `training.contracts.Objective`."""
        if share is None:
            return [None for _ in batch]
        data = batch.data
        generator = numbers_of(batch.place, self.seed, data.device)
        time = draw_times(len(data), self.stage, generator)
        noise = torch.randn(data.shape, generator=generator, device=data.device)
        conditions = drop_conditions(batch.conditions, self.stage.condition_dropout, generator)
        noisy, target = noised(data, noise, time.view(-1, 1, 1, 1, 1))
        found = self.model(noisy, 1000 * time, conditions, return_dict=False)[0]
        return {"loss": share.samples * (found.float() - target).square().mean()}

    def count_flops(self, batch: Grids) -> float | None:
        """Says that they are not counted."""
        return None

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the model, or what LoRA adds to it, into a folder."""
        save_trained(self.model, state, folder)


class StructuredLatentFlowObjective(nn.Module):
    """
    Minimizes the squared error of velocities of voxels' latents, in the plain mean over all voxels of a step.

    Args:
        model: the second stage.
        stage: says how times are drawn and conditions are dropped.
        seed: of noise, times and dropped conditions, which follow from it and a batch's place.
    """

    def __init__(self, model: StructuredLatentFlowModel, stage: ObjectStage, seed: int = 0):
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block

    def forward(
        self, batch: VoxelLatents | Sequence[VoxelLatents], share: Share | None = None, common: None = None
    ) -> dict[str, torch.Tensor] | list[None]:
        """Gives "loss": a scalar, times the batch's share; see `training.contracts.Objective`."""
        if share is None:
            return [None for _ in batch]
        data, sequences = batch.latents, batch.sequences
        generator = numbers_of(batch.place, self.seed, data.device)
        time = draw_times(batch.num_samples, self.stage, generator)
        noise = torch.randn(data.shape, generator=generator, device=data.device)
        conditions = drop_conditions(batch.conditions, self.stage.condition_dropout, generator)
        noisy, target = noised(data, noise, time[sequences.sample][:, None])
        found = self.model(noisy, batch.coords, sequences.cu_seqlens, 1000 * time, conditions, return_dict=False)[0]
        return {"loss": share.tokens * (found.float() - target).square().mean()}

    def count_flops(self, batch: VoxelLatents) -> float | None:
        """Says that they are not counted."""
        return None

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the model, or what LoRA adds to it, into a folder."""
        save_trained(self.model, state, folder)
