"""A start for a Gaussian decoder's attention: heads tell where a voxel's neighbors are, relative to itself.

Where in a voxel the surface runs shows in which of its neighbors are occupied. Sinusoidal positions let a query match
the keys around a place next to its own voxel, so a head's value, a ramp over positions, averages to where the neighbors
there are; less the ramp of the voxel itself, which the first head reads, that is their mean offset. From random queries
a small training budget does not find this at all.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, AtokenModel
from atoken.gaussian_decoder_atoken import AtokenWindowAttention

from ...frozen_rows import ProtectedRows

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


@dataclass(frozen=True)
class Channels:
    """
    Says which channels of a decoder's hidden states hold what; positions fill all of them, see `sinusoidal_positions`.

    Attributes:
        frequencies: (F,) of positions, in radians per voxel, falling.
        matched, ramp: indices of the frequencies that queries and keys, and values, read.
        written: nine channels for mean offsets: three around a voxel, six next to it.
        featured: channels of features, where positions change next to nothing over the grid, as in `written`.
    """

    frequencies: torch.Tensor
    matched: list[int]
    ramp: list[int]
    written: list[int]
    featured: list[int]

    @classmethod
    def of(cls, config: AtokenGaussianConfig) -> "Channels":
        """Chooses them for a decoder."""
        count = config.hidden_size // 6
        frequencies = 10000.0 ** (-torch.arange(count) / count)
        matched, ramp = (
            [int((frequencies / frequency).log().abs().argmin()) for frequency in wanted]
            for wanted in (_MATCHED, _RAMP)
        )
        # The last one is left out: it is the constant.
        still = [i for i in range(count - 2, -1, -1) if float(frequencies[i]) * config.resolution < _STILL]
        unfilled = cls(frequencies, matched, ramp, [], [])
        free = [channel for i in still for axis in range(3) for channel in unfilled.waves(i, axis)]
        return replace(unfilled, written=free[:9], featured=free[9:])

    def waves(self, index: int, axis: int) -> list[int]:
        """Lists the channels of sine and cosine of a frequency along x, y or z."""
        count = len(self.frequencies)
        return [2 * count * axis + index, 2 * count * axis + count + index]

    def ramp_waves(self, axis: int) -> list[int]:
        """Lists the channels of all frequencies of ramps along an axis."""
        return [channel for index in self.ramp for channel in self.waves(index, axis)]

    @property
    def constant(self) -> int:
        """Gives the channel of the cosine of next to nothing."""
        return self.waves(len(self.frequencies) - 1, 0)[1]

    def target(self, place: tuple[int, int, int], axis: int) -> int | None:
        """Gives the channel for mean offsets along an axis around a place: next to a voxel only along the way there."""
        if not any(place):
            return self.written[axis]
        return self.written[3 + PLACES.index(place) - 1] if place[axis] else None


@torch.no_grad()
def look_around(decoder: AtokenGaussianDecoder, patches: torch.Tensor) -> None:
    """
    Sets what the heads of the first two blocks read and where they write it, and puts features into other channels.

    Args:
        decoder: of width 96 or more, with heads of 16 channels, not trained yet.
        patches: (N, 768) in [-1, 1], of which the features are the principal components.

    Raises:
        ValueError: it is narrower, so that it has no channels to spare.
    """
    if decoder.config.hidden_size < 96:
        raise ValueError(f"decoder must have a hidden_size of at least 96, got {decoder.config.hidden_size}")
    channels = Channels.of(decoder.config)
    _set_features(decoder, channels, patches)
    for block in decoder.blocks:
        # What blocks add begins as nothing, so that weak features are not lost in it, but they read features as strong.
        block.attn.out_proj.weight.zero_()
        block.mlp.fc2.weight.zero_()
        block.mlp.fc1.weight[:, channels.featured] *= (len(channels.featured) / _STRENGTH) ** 0.5 / 2
    ramps = ramp_factors(channels.frequencies[channels.ramp], decoder.config.resolution) / _NORM
    for block in decoder.blocks[:_BLOCKS]:
        for head in range(decoder.config.num_attention_heads):
            place = PLACES[(head - 1) % len(PLACES)] if head else (0, 0, 0)
            spread = NEXT if any(place) else AROUND if head else ITSELF
            _aim(block.attn, head, place, spread, channels)
            _read_places(block.attn, head, place, ramps, channels)


def _set_features(decoder: AtokenGaussianDecoder, channels: Channels, patches: torch.Tensor) -> None:
    """Makes features of principal components, weak beside positions: strong ones would stretch ramps in the norm."""
    count = len(channels.featured)
    values, axes = torch.linalg.eigh(patches.mT @ patches / len(patches))
    values, axes = values.flip(0)[:count], axes.flip(1)[:, :count]
    # Large components are larger, but the small ones are not lost.
    scales = values.clamp(min=1e-6) ** -0.25
    scales = scales * (_STRENGTH / (values * scales**2).sum()).sqrt()
    decoder.input_layer.weight.zero_()
    decoder.input_layer.weight[channels.featured] = (axes * scales).mT


def _aim(
    attention: AtokenWindowAttention, head: int, place: tuple[int, int, int], spread: float, channels: Channels
) -> None:
    """Lets a head's queries match keys around a place, with the logits of a Gaussian."""
    query, key, _ = (part.unflatten(0, (-1, HEAD_DIM))[head] for part in attention.qkv.weight.chunk(3))
    query.zero_(), key.zero_()
    row, top = 0, 0.0
    for axis in range(3):
        for index in channels.matched:
            frequency = float(channels.frequencies[index])
            # Each of the frequencies makes an equal part of the fall from the place to the next voxel.
            strength = 1 / (2 * spread**2) / len(channels.matched) / (1 - math.cos(frequency))
            size, angle = math.sqrt(strength / attention.scaling) / _NORM, frequency * place[axis]
            sine, cosine = size * math.sin(angle), size * math.cos(angle)
            pair = slice(row, row + 2)
            query[pair, channels.waves(index, axis)] = torch.tensor([[cosine, sine], [-sine, cosine]])
            key[pair, channels.waves(index, axis)] = size * torch.eye(2)
            row, top = row + 2, top + strength
    # The cap of logits must not flatten the best of them.
    query[row, channels.constant], key[row, channels.constant] = -(top - _LOGIT) / attention.scaling / _NORM**2, 1.0


def _read_places(
    attention: AtokenWindowAttention, head: int, place: tuple[int, int, int], ramps: torch.Tensor, channels: Channels
) -> None:
    """Lets a head's first three values be ramps along the axes, of which the first head's are subtracted."""
    value = attention.qkv.weight.chunk(3)[2].unflatten(0, (-1, HEAD_DIM))[head]
    for axis in range(3):
        value[axis] = 0.0
        value[axis, channels.ramp_waves(axis)] = ramps
        target = channels.target(place, axis)
        if head and target is not None:
            attention.out_proj.weight[target, HEAD_DIM * head + axis] = GAIN
            attention.out_proj.weight[target, axis] = -GAIN


def looking_parameters(decoder: AtokenGaussianDecoder) -> list[nn.Parameter]:
    """Lists what `look_around` set and training must leave alone: its steps would blur at once where heads look."""
    parts = [part for block in decoder.blocks[:_BLOCKS] for part in (block.norm1, block.attn)]
    return [parameter for part in (decoder.input_layer, *parts) for parameter in part.parameters()]


def has_looks(checkpoint: Path) -> bool:
    """Tells whether it is recorded beside a checkpoint that `look_around` set its Gaussian decoder."""
    return "gaussian_decoder.input_layer.weight" in ProtectedRows.load(str(checkpoint)).rows


def protect_looks(model: AtokenModel, source: Path, out: Path) -> None:
    """Writes down beside a model, OUT, what is protected beside SOURCE and what `look_around` set in the model."""
    rows = [(parameter, torch.arange(len(parameter))) for parameter in looking_parameters(model.gaussian_decoder)]
    ProtectedRows(ProtectedRows.load(str(source)).rows | ProtectedRows.of(model, rows).rows).save(out)


def ramp_factors(frequencies: torch.Tensor, resolution: int) -> torch.Tensor:
    """Fits positions, but for a constant, by waves of K frequencies with small factors: (2 K,), sine before cosine."""
    places = torch.arange(resolution, dtype=torch.float64)
    angles = places[:, None] * frequencies.double()
    waves = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)  # (resolution, 2 K)
    waves, places = waves - waves.mean(0), places - places.mean()
    square = waves.mT @ waves / resolution + 1e-4 * torch.eye(waves.shape[1], dtype=torch.float64)
    return torch.linalg.solve(square, waves.mT @ places / resolution).float()
