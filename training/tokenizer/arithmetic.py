"""The floating point operations of a training step of the tokenizer.

A weight and token take 6 operations forward and backward, 2 of them forward; a pair of tokens that attend to each other
takes 12 times the width in each layer, 4 of them forward.
"""

from collections.abc import Iterable, Sequence

import torch

from atoken import AtokenModel

from ..data.batches import TrainingBatch
from .tiles import Cut

# Of one picture at 224 px and its reconstruction: two forward passes and one back to the pixels, of VGG-16 (15.35
# billion products a pass) and of CLIP's ViT-B/16 (17.56 billion).
VGG_FLOPS, CLIP_FLOPS = 3 * 2 * 15.35e9, 3 * 2 * 17.56e9
# Of one crop at 128 px and its reconstruction, of ST-LPIPS's AlexNet (1.19 billion products a pass).
ALEX_FLOPS = 3 * 2 * 1.19e9
TEXT_TOKENS = 64  # that the text tower sees of a caption, padding included


def training_flops(model: AtokenModel, batch: TrainingBatch, with_teacher: bool, cuts: Sequence[Cut]) -> float:
    """
    Counts the operations of one forward and backward pass.

    A teacher's forward pass is a third of its tower's, as is that of an encoder that does not learn. Perceptual
    networks, the text tower and the Gaussian decoder are not counted.

    Args:
        model: that is trained.
        batch: of one task.
        with_teacher: whether images are distilled.
        cuts: see `tower_flops`.
    """
    shapes = [
        (1, length) if grid is None else (grid[0], grid[1] * grid[2])
        for grid, length in zip(batch.grids, batch.lengths, strict=True)
    ]
    total = tower_flops(model.vision_model, shapes, cuts) * (1 if encoder_learns(model) else 1 / 3)
    if batch.task.endswith("understanding"):
        return total * (4 / 3 if with_teacher and batch.task.startswith("image") else 1)
    return total + tower_flops(model.decoder, shapes, cuts)


def encoder_learns(model: AtokenModel) -> bool:
    """Tells whether gradients go back through the encoder's blocks; its pooling head lies behind them."""
    return any(
        each.requires_grad for name, each in model.vision_model.named_parameters() if not name.startswith("head.")
    )


def tower_flops(tower: torch.nn.Module, shapes: Iterable[tuple[int, float]], cuts: Sequence[Cut]) -> float:
    """
    Counts the operations of one tower, a mean over steps that cut samples in different ways.

    Args:
        tower: the encoder or the decoder.
        shapes: latent frames and tokens of a latent frame of each sample.
        cuts: how samples are cut, with shares of the steps, see `Tiles.cuts`.
    """
    weights = sum(parameter.numel() for parameter in tower.blocks.parameters())
    tokens = pairs = 0.0
    for frames, cells in shapes:
        tokens += frames * cells
        for cut in cuts:
            seen = sum(
                min(cut.tile, frames - start) * (min(cut.tile, frames - start) + min(cut.cache, start))
                for start in range(0, frames, cut.tile)
            )
            pairs += cut.share * seen * cells**2
    return 6.0 * weights * tokens + 12.0 * len(tower.blocks) * tower.config.hidden_size * pairs


def text_flops(model: AtokenModel, texts: int) -> float:
    """Counts the forward pass of SigLIP 2's text tower, which is as large as the vision tower it was trained with."""
    return tower_flops(model.vision_model, [(1, TEXT_TOKENS)] * texts, [Cut(1.0, 1)]) / 3
