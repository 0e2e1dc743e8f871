"""What a generator of images and videos learns: the velocity from data to noise of latents, seen with their caption."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import HunyuanVideoTransformer3DModel
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import nn
from torch.nn import functional as F

from atoken.generation import TextToMediaPipeline
from atoken.generation.media_sampling_atoken import time_shift
from atoken.generation.text_conditions_atoken import TextCondition

from ...contracts import Share
from ..flow_matching import interpolate
from ..lightning_dit_objective import save_generator, seed_of, weights_of
from .batches import MediaBatch
from .stage import TextToMediaStage
from .statistics_file import write_statistics


class TextToMediaObjective(nn.Module):
    """
    Minimizes the squared error of velocities.

    Args:
        model: the transformer.
        stage: says how captions are dropped and times are drawn.
        null: condition of the empty text.
        statistics: what a pipeline has to know of latents, by its arguments' names; written beside the weights.
        seed: of noise, times and dropped captions, which follow from it and a batch's step and process.
    """

    def __init__(
        self,
        model: HunyuanVideoTransformer3DModel,
        stage: TextToMediaStage,
        null: TextCondition,
        statistics: Mapping[str, Any],
        seed: int = 0,
    ):
        super().__init__()
        self.model, self.stage, self.statistics, self.seed = model, stage, dict(statistics), seed
        self._null = null
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block

    def forward(
        self, batch: MediaBatch | Sequence[MediaBatch], share: Share | None = None, common: None = None
    ) -> dict[str, torch.Tensor] | list[None]:
        """Gives "loss", also by its kind: scalars, times the batch's share; see `training.contracts.Objective`."""
        if share is None:
            return [None for _ in batch]
        latents = batch.latents  # (B, C, T, h, w)
        numbers = torch.Generator(latents.device).manual_seed(seed_of(self.seed, batch.rank, batch.step))
        time = self.times(latents, numbers)
        noise = torch.randn(latents.shape, generator=numbers, device=latents.device)
        dropped = torch.rand(len(latents), generator=numbers, device=latents.device) < self.stage.text_dropout
        condition = with_null(batch.condition, self._null.to(latents.device), dropped)
        noisy, to_data = interpolate(latents, noise, 1 - time)
        velocity = self.model(
            noisy, 1000 * time, condition.embeds, condition.mask, condition.pooled, return_dict=False
        )[0]
        loss = share.samples * F.mse_loss(velocity.float(), -to_data)
        return {"loss": loss, f"{batch.kind} loss": loss.detach()}

    def times(self, latents: torch.Tensor, numbers: torch.Generator) -> torch.Tensor:
        """Draws a time in [0, 1] for each sample, (B,); 1 is noise."""
        stage = self.stage
        drawn = compute_density_for_timestep_sampling(
            "logit_normal", len(latents), stage.logit_mean, stage.logit_std, None, latents.device, numbers
        ).to(latents.device)
        frames, rows, columns = latents.shape[2:]
        tokens = rows * columns // self.model.config.patch_size**2
        shift = time_shift(tokens, frames) if stage.shift is None else stage.shift
        return shift * drawn / (1 + (shift - 1) * drawn)

    def count_flops(self, batch: MediaBatch) -> float:
        """Counts the floating point operations of a forward and backward pass: products and attention."""
        model, config, blocks = self.model, self.model.config, self.model.transformer_blocks
        refiner = model.context_embedder
        of_media, of_texts = [model.proj_out], [refiner.proj_in]
        of_samples = [model.time_text_embed, model.norm_out, refiner.time_text_embed]
        for block in blocks:
            attention = block.attn
            of_media += [attention.to_q, attention.to_k, attention.to_v, attention.to_out, block.ff]
            of_texts += [attention.add_q_proj, attention.add_k_proj, attention.add_v_proj, attention.to_add_out]
            of_texts += [block.ff_context]
            of_samples += [block.norm1, block.norm1_context]
        for block in refiner.token_refiner.refiner_blocks:
            of_texts += [block.attn, block.ff]
            of_samples += [block.norm_out]
        of_patch = config.patch_size**2  # latents of a token
        media, texts = batch.num_tokens // batch.num_samples // of_patch, batch.condition.mask.shape[1]
        width = config.num_attention_heads * config.attention_head_dim
        products = media * (weights_of(of_media) + of_patch * config.in_channels * width)
        products += texts * weights_of(of_texts) + weights_of(of_samples)
        attended = width * (len(blocks) * (media + texts) ** 2 + config.num_refiner_layers * texts**2)
        return batch.num_samples * (6.0 * products + 12.0 * attended)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the transformer, or what LoRA adds to it, and the statistics of latents into a folder."""
        if self.stage.lora is None:
            save_generator(self.model, state, folder)
        else:
            from peft import get_peft_model_state_dict

            weights = {name.removeprefix("model."): value for name, value in state.items()}
            added = get_peft_model_state_dict(self.model, state_dict=weights)
            # Without it, what loads takes the rank for the scale.
            about = self.model.peft_config["default"].to_dict()
            TextToMediaPipeline.save_lora_weights(
                folder, transformer_lora_layers=added, transformer_lora_adapter_metadata=about
            )
        write_statistics(folder, self.statistics)


def with_null(condition: TextCondition, null: TextCondition, dropped: torch.Tensor) -> TextCondition:
    """Gives conditions of B texts, with that of no text, `null` (one text), where `dropped` (B,) says so."""
    length = max(condition.mask.shape[1], null.mask.shape[1])
    own, empty = (
        (F.pad(each.embeds, (0, 0, 0, length - each.mask.shape[1])), F.pad(each.mask, (0, length - each.mask.shape[1])))
        for each in (condition, null)
    )
    return TextCondition(
        torch.where(dropped[:, None, None], empty[0], own[0]),
        torch.where(dropped[:, None], empty[1], own[1]),
        torch.where(dropped[:, None], null.pooled, condition.pooled),
    )
