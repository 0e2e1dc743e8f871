"""A start for a Gaussian decoder's attention: heads tell where a voxel's neighbors are, relative to itself.

Where in a voxel the surface runs shows in which of its neighbors are occupied. Sinusoidal positions let a query match
the keys around a place next to its own voxel, so a head's value, a ramp over positions, averages to where the neighbors
there are; less the ramp of the voxel itself, which the first head reads, that is their mean offset. From random queries
a small training budget does not find this at all.
"""

import math

import torch
from torch import nn

from atoken import AtokenGaussianDecoder

HEAD_DIM = 16
# What a head but the first averages around, in voxels from its own.
PLACES = [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
# How far: standard deviations, in voxels, around the voxel itself, around a place next to it, and for the first head.
AROUND, NEXT, ITSELF = 1.0, 0.4, 0.3
GAIN = 2.0  # mean offsets in voxels are written times this
# Angular frequencies per voxel: of queries and keys, so high that neighbors differ and so low that no two voxels of a
# window look alike; of ramps, half a wave or less over the grid.
_MATCHED, _RAMP = (0.6, 0.25), (0.045, 0.0125)
_LOGIT = 10.0  # of a perfect match
_NORM = 1.4  # what the norm before attention multiplies by, about
_STRENGTH = 0.3  # mean square of features over all channels together; of positions it is half the channels' number
_STILL = 0.35  # radians over the grid
_BLOCKS = 2  # one for each way to cut windows


@torch.no_grad()
def look_around(decoder: AtokenGaussianDecoder, patches: torch.Tensor) -> None:
    """
    Sets what the heads of the first two blocks read and where they write it, and keeps the rest out of those channels.

    Features are weak up to there, `_STRENGTH` beside positions of hidden_size / 2: the norm before attention would mix
    how much is in a patch with where it is.

    Args:
        decoder: of width 96 or more, with heads of 16 channels, not trained yet.
        patches: (N, 768) in [-1, 1], of which the features are the principal components.

    Raises:
        ValueError: it is narrower, so that it has no channels to spare.
    """
    if decoder.config.hidden_size < 96:
        raise ValueError(f"decoder must have a hidden_size of at least 96, got {decoder.config.hidden_size}")
    config, count = decoder.config, decoder.config.hidden_size // 6
    heads = config.num_attention_heads
    frequencies = 10000.0 ** (-torch.arange(count) / count)  # as in `sinusoidal_positions`

    def nearest(wanted: tuple[float, ...]) -> list[int]:
        return [int((frequencies / frequency).log().abs().argmin()) for frequency in wanted]

    def waves(index: int, axis: int) -> list[int]:
        """Lists the channels of sine and cosine of a frequency."""
        return [2 * count * axis + index, 2 * count * axis + count + index]

    matched, ramp = nearest(_MATCHED), nearest(_RAMP)
    constant = waves(count - 1, 0)[1]  # the cosine of next to nothing
    # Mean offsets and features go where positions change next to nothing over the grid.
    still = [i for i in range(count - 2, -1, -1) if float(frequencies[i]) * config.resolution < _STILL]
    free = [c for index in still for axis in range(3) for c in waves(index, axis)]
    written, featured = free[:9], free[9:]
    values, axes = torch.linalg.eigh(patches.mT @ patches / len(patches))
    values, axes = values.flip(0)[: len(featured)], axes.flip(1)[:, : len(featured)]
    # Large components are larger, but the small ones are not lost.
    scales = values.clamp(min=1e-6) ** -0.25
    scales = scales * (_STRENGTH / (values * scales**2).sum()).sqrt()
    decoder.input_layer.weight.zero_()
    decoder.input_layer.weight[featured] = (axes * scales).mT
    for block in decoder.blocks:
        # What blocks add begins as nothing, so that weak features are not lost in it, but they read features as strong.
        block.attn.out_proj.weight.zero_(), block.mlp.fc2.weight.zero_()
        block.mlp.fc1.weight[:, featured] *= (len(featured) / _STRENGTH) ** 0.5 / 2
    factors = ramp_factors(frequencies[ramp], config.resolution) / _NORM
    for block in decoder.blocks[:_BLOCKS]:
        query, key, value = (part.unflatten(0, (heads, HEAD_DIM)) for part in block.attn.qkv.weight.chunk(3))
        output = block.attn.out_proj.weight  # (hidden_size, heads * HEAD_DIM)
        for head in range(heads):
            place = PLACES[(head - 1) % len(PLACES)] if head else (0, 0, 0)
            spread = NEXT if any(place) else AROUND if head else ITSELF
            query[head], key[head] = 0.0, 0.0
            row, top = 0, 0.0
            for axis in range(3):
                for index in matched:
                    frequency = float(frequencies[index])
                    # Each of the frequencies makes half of the fall from the place to the next voxel.
                    strength = 1 / (2 * spread**2) / len(matched) / (1 - math.cos(frequency))
                    size, angle = math.sqrt(strength / block.attn.scaling) / _NORM, frequency * place[axis]
                    sine, cosine = size * math.sin(angle), size * math.cos(angle)
                    pair = slice(row, row + 2)
                    query[head, pair, waves(index, axis)] = torch.tensor([[cosine, sine], [-sine, cosine]])
                    key[head, pair, waves(index, axis)] = size * torch.eye(2)
                    row, top = row + 2, top + strength
                value[head, axis] = 0.0
                value[head, axis, [c for index in ramp for c in waves(index, axis)]] = factors
                # Around itself all of the offset counts; next to itself whether there is a voxel, along the way there.
                if head and (place[axis] or not any(place)):
                    channel = written[3 + PLACES.index(place) - 1] if any(place) else written[axis]
                    output[channel, HEAD_DIM * head + axis] = GAIN
                    output[channel, axis] = -GAIN
            # The cap of logits must not flatten the best of them.
            query[head, row, constant], key[head, row, constant] = -(top - _LOGIT) / block.attn.scaling / _NORM**2, 1.0


def looking_parameters(decoder: AtokenGaussianDecoder) -> list[nn.Parameter]:
    """Lists what `look_around` set and training must leave alone: its steps would blur at once where heads look."""
    parts = [part for block in decoder.blocks[:_BLOCKS] for part in (block.norm1, block.attn)]
    return [parameter for part in (decoder.input_layer, *parts) for parameter in part.parameters()]


def ramp_factors(frequencies: torch.Tensor, resolution: int) -> torch.Tensor:
    """Fits positions, but for a constant, by waves of K frequencies with small factors: (2 K,), sine before cosine."""
    places = torch.arange(resolution, dtype=torch.float64)
    angles = places[:, None] * frequencies.double()
    waves = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)  # (resolution, 2 K)
    waves, places = waves - waves.mean(0), places - places.mean()
    square = waves.mT @ waves / resolution + 1e-4 * torch.eye(waves.shape[1], dtype=torch.float64)
    return torch.linalg.solve(square, waves.mT @ places / resolution).float()
