"""How many of FSQ's channels each latent gets: one by one, each where it takes away most distortion.

FSQ rounds every channel to four levels. That is too few for a latent that moves most of a patch's pixels, and wasted on
a faint one; a large model learns to spread what it knows, a small one with little time does not.
"""

from dataclasses import dataclass

import torch

from atoken import AtokenModel

from ...data.batches import TrainingBatch

LEVELS = 4
MOST_CHANNELS = 3
REACHES = (1.2, 1.5, 1.75, 1.96, 2.3, 2.6, 3.0, 3.5, 4.0, 5.0)  # candidates for the range of all cells, in deviations


@dataclass
class Coding:
    """
    Says how latents become channels of FSQ. A latent with n channels is told to 4 ** n equal cells of its range.

    Attributes:
        latents: (K,) which latents are coded; the others are always their mean.
        counts: (K,) channels of each, falling.
        centers, reaches: (K,) the middle and half the width of the range.
        values: (K, 64) what stands for each cell, from low to high; of one channel's four values on a line.
        means: (C,) of all latents.
    """

    latents: torch.Tensor
    counts: torch.Tensor
    centers: torch.Tensor
    reaches: torch.Tensor
    values: torch.Tensor
    means: torch.Tensor


def measure(model: AtokenModel, batches: list[TrainingBatch]) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Measures what `plan` needs to know, every task counting alike.

    A latent's cost is the squared length of its column of the decoder's Jacobian, whose expectation is the squared
    gradient of the pixels' product with random numbers (Hutchinson, 1989).

    Args:
        model: a continuous one.
        batches: of tasks of reconstruction.

    Returns:
        Latents (N, C), and what a squared error of each costs in squared error of a pixel.
    """
    tokens = {task: sum(b.num_tokens for b in batches if b.task == task) for task in {b.task for b in batches}}
    frame = model.decoder.out_layer.out_features // model.vision_model.patch_size[0]
    latents, weights = [], []
    for batch in batches:
        with torch.no_grad():
            held = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False).latents
        held.requires_grad_()
        # Frames 2 to 4 of pictures and voxels are padding.
        values = None if batch.task.startswith("video") else frame
        pixels = model.decode(held, batch.coords, batch.cu_seqlens).pixel_values[:, :values]
        (gradient,) = torch.autograd.grad((pixels * torch.randn_like(pixels)).sum(), held)
        costs = gradient.square().mean(0) / pixels.shape[1]
        latents.append(held.detach())
        weights.append(costs.expand_as(held) / tokens[batch.task])
    return torch.cat(latents), torch.cat(weights)


def cells_of(values: torch.Tensor, count: int, reach: float | torch.Tensor) -> torch.Tensor:
    """Finds the cell, from 0 for the lowest, of values around 0 in 4 ** count equal ones from -reach to reach."""
    cells = LEVELS**count
    return ((values + reach) / (2 * reach) * cells).floor().long().clamp(0, cells - 1)


def plan(latents: torch.Tensor, weights: torch.Tensor, num_channels: int, switches: tuple[int, ...] = ()) -> Coding:
    """
    Shares out the channels, one by one, to where each takes away most.

    Args:
        latents: (N, C) of tokens of all media.
        weights: (N, C) what a squared error of each costs.
        num_channels: how many channels there are.
        switches: latents that get a channel first, as what they decide does not show in small changes of them.
    """
    latents, weights = latents.double(), weights.double()
    means = (latents * weights).sum(0) / weights.sum(0)
    centered = latents - means
    # A latent that never moves still has a range.
    deviations = (centered.square() * weights).sum(0).div(weights.sum(0)).sqrt().clamp(min=1e-3)
    channels = latents.shape[1]
    costs = torch.full((MOST_CHANNELS + 1, channels), torch.inf, dtype=torch.float64)
    costs[0] = (centered.square() * weights).sum(0)
    reaches = torch.zeros(MOST_CHANNELS + 1, channels, dtype=torch.float64)
    tables = torch.zeros(MOST_CHANNELS + 1, channels, LEVELS**MOST_CHANNELS, dtype=torch.float64)
    for count in range(1, MOST_CHANNELS + 1):
        for factor in REACHES:
            reach = factor * deviations
            cells = cells_of(centered, count, reach)
            table = (_lines if count == 1 else _centroids)(centered, weights, cells, count, reach)
            errors = ((table.T.gather(0, cells) - centered).square() * weights).sum(0)
            better = errors < costs[count]
            costs[count] = torch.where(better, errors, costs[count])
            reaches[count] = torch.where(better, reach, reaches[count])
            tables[count, better] = tables.new_zeros(()).expand(int(better.sum()), tables.shape[2])
            tables[count, better, : table.shape[1]] = table[better]
    counts = torch.zeros(channels, dtype=torch.long)
    counts[list(switches)] = 1
    every = torch.arange(channels)
    for _ in range(min(num_channels, MOST_CHANNELS * channels) - len(switches)):
        gains = costs[counts, every] - costs[(counts + 1).clamp(max=MOST_CHANNELS), every]
        counts[gains.masked_fill(counts == MOST_CHANNELS, -torch.inf).argmax()] += 1
    coded = torch.argsort(counts, descending=True, stable=True)[: int((counts > 0).sum())]
    chosen = counts[coded]
    return Coding(
        latents=coded,
        counts=chosen,
        centers=means[coded].float(),
        reaches=reaches[chosen, coded].float(),
        values=(tables[chosen, coded] + means[coded, None]).float(),
        means=means.float(),
    )


def _centroids(
    centered: torch.Tensor, weights: torch.Tensor, cells: torch.Tensor, count: int, reach: torch.Tensor
) -> torch.Tensor:
    """Gives (C, 4 ** count): the mean of each cell's values, its middle where it has none; of 64 cells the middles."""
    number = LEVELS**count
    middles = ((torch.arange(number, dtype=centered.dtype) + 0.5) * 2 / number - 1) * reach[:, None]
    if count == MOST_CHANNELS:
        return middles
    totals = torch.zeros_like(middles).scatter_add_(1, cells.T, weights.T)
    sums = torch.zeros_like(middles).scatter_add_(1, cells.T, (weights * centered).T)
    return torch.where(totals > 0, sums / totals.clamp(min=1e-30), middles)


def _lines(
    centered: torch.Tensor, weights: torch.Tensor, cells: torch.Tensor, count: int, reach: torch.Tensor
) -> torch.Tensor:
    """Gives (C, 4): the line through the four cells' values with the least squared error."""
    total = weights.sum(0)
    place, value = (weights * cells).sum(0) / total, (weights * centered).sum(0) / total
    away = cells - place
    slope = (weights * away * (centered - value)).sum(0) / (weights * away.square()).sum(0).clamp(min=1e-30)
    return value[:, None] + slope[:, None] * (torch.arange(LEVELS) - place[:, None])
