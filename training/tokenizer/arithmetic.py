"""The floating point operations of a training step of the tokenizer.

A weight and token take 6 operations forward and backward, 2 of them forward; a pair of tokens that attend to each other
takes 12 times the width in each layer, 4 of them forward.
"""

from collections.abc import Iterable

import torch

from atoken import AtokenModel

from ..data.batches import TrainingBatch

# Of one picture at 224 px and its reconstruction: two forward passes and one back to the pixels, of VGG-16 (15.35
# billion products a pass) and of CLIP's ViT-B/16 (17.56 billion).
VGG_FLOPS, CLIP_FLOPS = 3 * 2 * 15.35e9, 3 * 2 * 17.56e9
TEXT_TOKENS = 64  # that the text tower sees of a caption, padding included


def training_flops(model: AtokenModel, batch: TrainingBatch, with_teacher: bool) -> float:
    """
    Counts the operations of one forward and backward pass.

    A teacher's forward pass is a third of its tower's, as is that of an encoder that does not learn. Videos are taken
    as tiles that do not see each other. Perceptual networks, the text tower and the Gaussian decoder are not counted.
    """
    shapes = [
        (1, length) if grid is None else (grid[0], grid[1] * grid[2])
        for grid, length in zip(batch.grids, batch.lengths, strict=True)
    ]
    total = tower_flops(model.vision_model, shapes) * (1 if encoder_learns(model) else 1 / 3)
    if batch.task.endswith("understanding"):
        return total * (4 / 3 if with_teacher and batch.task.startswith("image") else 1)
    return total + tower_flops(model.decoder, shapes)


def encoder_learns(model: AtokenModel) -> bool:
    """Tells whether gradients go back through the encoder's blocks; its pooling head lies behind them."""
    return any(
        each.requires_grad for name, each in model.vision_model.named_parameters() if not name.startswith("head.")
    )


def tower_flops(tower: torch.nn.Module, shapes: Iterable[tuple[int, float]]) -> float:
    """
    Counts the operations of one tower.

    Args:
        tower: the encoder or the decoder.
        shapes: latent frames and tokens of a latent frame of each sample.
    """
    weights = sum(parameter.numel() for parameter in tower.blocks.parameters())
    tile = tower.config.tile_frames // tower.patch_size[0]
    tokens = pairs = 0.0
    for frames, cells in shapes:
        whole, rest = divmod(frames, tile)
        tokens += frames * cells
        pairs += whole * (tile * cells) ** 2 + (rest * cells) ** 2
    return 6.0 * weights * tokens + 12.0 * len(tower.blocks) * tower.config.hidden_size * pairs


def text_flops(model: AtokenModel, texts: int) -> float:
    """Counts the forward pass of SigLIP 2's text tower, which is as large as the vision tower it was trained with."""
    return tower_flops(model.vision_model, [(1, TEXT_TOKENS)] * texts) / 3
