"""What Lightning-DiT learns: the velocity from noise to data of an image's latents (AToken paper, section 5.2)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from atoken.generation import LightningDiTTransformer2DModel

from ..contracts import Share
from .flow_matching import interpolate, velocity_losses
from .stage import GeneratorStage
from .token_batches import TokenImages


class LightningDiTObjective(nn.Module):
    """
    Minimizes the squared error of velocities and the angle between them.

    Args:
        model: the generator.
        stage: says how labels are dropped and times are drawn.
        seed: of noise, times and dropped labels, which follow from it and a batch's step and process.
    """

    def __init__(self, model: LightningDiTTransformer2DModel, stage: GeneratorStage, seed: int = 0):
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block

    def forward(
        self, batch: TokenImages | Sequence[TokenImages], share: Share | None = None, common: None = None
    ) -> dict[str, torch.Tensor] | list[None]:
        """Gives "loss", "mse" and "cosine": scalars, times the batch's share; see `training.contracts.Objective`."""
        if share is None:
            return [None for _ in batch]
        latents, generator = batch.tokens, generator_of(batch, self.seed)
        count = len(latents)
        time = torch.randn(count, generator=generator, device=latents.device).sigmoid()
        if self.stage.uniform_time_from is not None and batch.step >= self.stage.uniform_time_from:
            time = torch.rand(count, generator=generator, device=latents.device)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        labels = drop_labels(batch.labels, self.stage.label_dropout, self.model.config.num_classes, generator)
        noisy, target = interpolate(latents, noise, time)
        squared, cosine = velocity_losses(self.model(noisy, time, labels, return_dict=False)[0], target)
        parts = {"mse": share.samples * squared.mean(), "cosine": share.samples * cosine.mean()}
        return {"loss": parts["mse"] + parts["cosine"], **{name: part.detach() for name, part in parts.items()}}

    def count_flops(self, batch: TokenImages) -> float:
        """Counts the floating point operations of a forward and backward pass: products and attention."""
        model, positions = self.model, self.model.grid**2
        blocks = model.transformer_blocks
        of_images = [model.time_embed, model.modulation_out, *(block.modulation for block in blocks)]
        of_tokens = [model.proj_out, *(part for block in blocks for part in (block.attn, block.mlp))]
        width = model.proj_out.in_features
        a_token = (
            6.0 * (weights_of(of_tokens) + model.patch_embed.weight.numel()) + 12.0 * len(blocks) * width * positions
        )
        return batch.num_samples * (positions * a_token + 6.0 * weights_of(of_images))

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the generator into a folder."""
        save_generator(self.model, state, folder)


def seed_of(*numbers: int) -> int:
    """Mixes numbers into one of 32 bits, as generators on the CPU look at no more."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def generator_of(batch: TokenImages, seed: int) -> torch.Generator:
    """Gives the random numbers of a batch, on its device."""
    return torch.Generator(batch.labels.device).manual_seed(seed_of(seed, batch.rank, batch.step))


def drop_labels(labels: torch.Tensor, share: float, no_class: int, generator: torch.Generator) -> torch.Tensor:
    """Lets a share of labels become "no class", each by itself."""
    dropped = torch.rand(len(labels), generator=generator, device=labels.device) < share
    return torch.where(dropped, no_class, labels)


def weights_of(modules: Sequence[nn.Module]) -> int:
    """Counts the weights of the linear layers of modules."""
    linear = (layer for module in modules for layer in module.modules() if isinstance(layer, nn.Linear))
    return sum(layer.weight.numel() for layer in linear)


def save_generator(model: ModelMixin, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Writes a generator with weights from the state dict of its objective."""
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    # A copy without memory of its own, as the model itself may be wrapped or in shards.
    with torch.device("meta"):
        copy = type(model).from_config(model.config)
    copy.load_state_dict(weights, assign=True)
    copy.save_pretrained(folder)
