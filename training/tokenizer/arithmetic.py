"""The floating point operations of a training step of the tokenizer."""

import torch

from atoken import AtokenModel

from ..data.batches import TrainingBatch


def training_flops(model: AtokenModel, batch: TrainingBatch, with_teacher: bool) -> float:
    """
    Counts the operations of one forward and backward pass.

    They are 6 for each weight of the blocks and token, and 12 d for each pair of tokens that attend to each other in a
    layer; a teacher's forward pass is a third of its tower's. Videos are taken as tiles that do not see each other.
    Perceptual networks and the Gaussian decoder are not counted.
    """
    understanding = batch.task.endswith("understanding")
    total = _tower_flops(model.vision_model, batch)
    if understanding:
        return total * (4 / 3 if with_teacher and batch.task.startswith("image") else 1)
    return total + _tower_flops(model.decoder, batch)


def _tower_flops(tower: torch.nn.Module, batch: TrainingBatch) -> float:
    weights = sum(parameter.numel() for parameter in tower.blocks.parameters())
    tile = tower.config.tile_frames // tower.patch_size[0]
    pairs = 0
    for grid, length in zip(batch.grids, batch.lengths, strict=True):
        if grid is None:
            pairs += length**2
            continue
        frames, cells = grid[0], grid[1] * grid[2]
        whole, rest = divmod(frames, tile)
        pairs += whole * (tile * cells) ** 2 + (rest * cells) ** 2
    return 6.0 * weights * batch.num_tokens + 12.0 * len(tower.blocks) * tower.config.hidden_size * pairs
