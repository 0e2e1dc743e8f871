"""What TokenBridge learns: the codes of masked positions of an image (AToken paper, section 5.3)."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from atoken.generation import TokenBridgeModel

from ..contracts import Share
from .lightning_dit_objective import drop_labels, generator_of, save_generator, seed_of, weights_of
from .stage import GeneratorStage
from .token_batches import TokenImages


class TokenBridgeObjective(nn.Module):
    """
    Minimizes the cross-entropy of masked codes.

    Args:
        model: the generator.
        stage: says how labels are dropped and positions are masked.
        seed: of masks, dropped labels and dropout, which follow from it and a batch's step and process.
    """

    def __init__(self, model: TokenBridgeModel, stage: GeneratorStage, seed: int = 0):
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block

    def masked(self, step: int) -> int:
        """Gives how many positions a step masks in each image: one number for all, drawn on the host."""
        mean, deviation, least = self.stage.mask_rate
        numbers = torch.Generator().manual_seed(seed_of(self.seed, step))
        # A normal cut off at both ends, by its inverse distribution function.
        low, high = (torch.special.ndtr(torch.tensor((end - mean) / deviation)) for end in (least, 1.0))
        place = low + (high - low) * torch.rand((), generator=numbers)
        rate = float(mean + deviation * torch.special.ndtri(place))
        return math.ceil(self.model.num_positions * min(max(rate, least), 1.0))

    def forward(
        self, batch: TokenImages | Sequence[TokenImages], share: Share | None = None, common: None = None
    ) -> dict[str, torch.Tensor] | list[None]:
        """Gives "loss": a scalar, times the batch's share; see `training.contracts.Objective`."""
        if share is None:
            return [None for _ in batch]
        codes, generator, count = batch.tokens, generator_of(batch, self.seed), self.masked(batch.step)
        # Dropout draws from torch's own numbers, which no checkpoint has.
        torch.manual_seed(seed_of(self.seed, batch.rank, batch.step))
        order = torch.rand(codes.shape[:2], generator=generator, device=codes.device).argsort(dim=1)
        mask = torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :count], True)
        labels = drop_labels(batch.labels, self.stage.label_dropout, self.model.config.num_classes, generator)
        loss = self.model(codes, labels, mask, num_masked=count, return_logits=False).loss
        return {"loss": share.samples * loss}

    def count_flops(self, batch: TokenImages) -> float:
        """Counts the floating point operations of a forward and backward pass: products and attention."""
        model, config, masked = self.model, self.model.config, self.masked(batch.step)
        every = config.buffer_size + model.num_positions
        seen = every - masked
        codes = masked * config.num_codes
        head = model.head
        products = (
            model.num_positions * weights_of([model.input_proj])
            + seen * weights_of([model.encoder_blocks, model.decoder_proj])
            + every * weights_of([model.decoder_blocks])
            + masked * weights_of([head.condition_proj, head.code_outputs])
            + codes * weights_of([head.blocks, head.modulation_out])
        )
        attention = (
            config.encoder_num_layers * config.encoder_hidden_size * seen**2
            + config.decoder_num_layers * config.decoder_hidden_size * every**2
            + config.head_num_layers * config.head_hidden_size * codes * config.num_codes
        )
        return batch.num_samples * (6.0 * products + 12.0 * attention)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the generator into a folder."""
        buffers = {f"model.{name}": value for name, value in self.model.named_buffers() if name == "code_values"}
        save_generator(self.model, {**buffers, **state}, folder)
