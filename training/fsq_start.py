"""A start for small discrete tokenizers: PCA whose strong components are spread over several 2-bit channels.

A channel of FSQ has four levels, too few for a component that holds most of the variance, and more than enough for a
faint one. So channels are given out one by one to the component with the most distortion left. Further channels of a
component hold its place within the cell of the channel before, folded like a triangle wave (as in a Gray code), so
that no channel jumps where another one does.
"""

import dataclasses

import torch

from atoken import AtokenModel

from .neighbour_heads import look_at_neighbours
from .pca_start import CONSTANT, OFF, Pca, offer_finer_components, read, start_blocks, start_encoder

LEVELS = 4
STEP = 0.80355  # distance of FSQ's thresholds before its tanh, around -SHIFT
SHIFT = 0.34621
REACHES = (1.5, 1.96, 2.3, 2.6, 3.0, 3.5, 4.0, 5.0)  # candidates for the range that equal cells cover, in deviations
MOST_CHANNELS = 3
STEEP = 20.0  # sharpness of a fold: gelu(20 x) / 20 is a ramp, where a step of FSQ is 0.5


def quantize(values: torch.Tensor, num_channels: int, reach: float) -> torch.Tensor:
    """The middle of the cell that each value is in, of LEVELS ** num_channels equal ones in [-reach, reach]."""
    cells = LEVELS**num_channels
    index = ((values + reach) / (2 * reach) * cells).floor().clamp(0, cells - 1)
    return (index + 0.5) * 2 * reach / cells - reach


def allocate(samples: torch.Tensor, num_channels: int) -> tuple[list[int], list[float]]:
    """
    Gives out channels one by one, each where it takes away most squared error.

    Args:
        samples: (N, K) components by falling variance, in any unit.
        num_channels: how many channels there are.

    Returns:
        The channels (0 to 3, falling) and the reach, in the samples' unit, of each component.
    """
    deviations = samples.square().mean(0).sqrt()
    errors, best = [], []
    for k in range(samples.shape[1]):
        ladder, chosen = [float(deviations[k] ** 2)], [0.0]
        for channels in range(1, MOST_CHANNELS + 1):
            trials = [reach * float(deviations[k]) for reach in REACHES]
            costs = [float((quantize(samples[:, k], channels, r) - samples[:, k]).square().mean()) for r in trials]
            ladder.append(min(costs))
            chosen.append(trials[costs.index(min(costs))])
        errors.append(ladder)
        best.append(chosen)
    counts = [0] * len(errors)
    for _ in range(num_channels):
        gains = [errors[k][n] - errors[k][n + 1] if n < MOST_CHANNELS else float("-inf") for k, n in enumerate(counts)]
        counts[gains.index(max(gains))] += 1
    # Keep the order of the components: one never gets more channels than the one before it.
    counts.sort(reverse=True)
    return counts, [best[k][n] for k, n in enumerate(counts)]


@torch.no_grad()
def start_discrete_from_pca(model: AtokenModel, image: Pca, video: Pca, frames: torch.Tensor) -> int:
    """
    Sets all weights of a discrete model with 4 levels per channel.

    Args:
        model: width of at least 192, 4 encoder and 4 decoder blocks, MLP of at least 512.
        image, video: as for `start_from_pca`.
        frames: (N, 768) patches of frames, which decide how the channels are given out.

    Returns:
        How many of the decoder's first channels hold switches and unfold the codes, see `protected_rows`.
    """
    # One quantizer serves both media, so a component's standard deviation must look the same in both.
    video = dataclasses.replace(video, units=video.deviations * image.units / image.deviations)
    counts, reaches = allocate((frames - image.mean) @ image.components, model.config.latent_channels - 1)
    counts = [n for n in counts if n]
    reaches = [reach / float(unit) for reach, unit, _ in zip(reaches, image.units, counts, strict=False)]
    start_blocks(model)
    _start_encoder(model, image, video, counts, reaches)
    return _start_decoder(model, image, video, counts, reaches)


def _first_latents(counts: list[int]) -> list[int]:
    """The latent that holds each component's coarsest channel."""
    return [sum(counts[:k]) for k in range(len(counts))]


def _start_encoder(model: AtokenModel, image: Pca, video: Pca, counts: list[int], reaches: list[float]) -> None:
    used = len(counts)
    channels = start_encoder(model, image, video, used, num_spare=sum(counts) - used)
    mlp = model.vision_model.blocks[3].mlp
    projection = model.latent_proj.weight.zero_()
    neuron = spare = 0
    for k, first in enumerate(_first_latents(counts)):
        sources = [int(channels.image[k]), int(channels.video[k])]  # one of the two is 0
        reach = reaches[k]
        read(model.latent_proj, first, sources, STEP / (reach / 2))
        projection[first, 0] = -SHIFT
        for stage in range(1, counts[k]):
            # A triangle wave from -1 to 1 with one flank per cell of the stage before.
            flanks = LEVELS**stage
            width = 2 * reach / flanks
            slope = 2 / width
            kinks = [(-reach + i * width, 2 * slope * (-1) ** i) for i in range(1, flanks)]
            fold = int(channels.spare[spare])
            steep = 2 * STEEP / width
            for offset, factor, weight in [
                (0.0, 1.0, slope),
                (0.0, -1.0, -slope),
                *((-kink * steep, steep, change / steep) for kink, change in kinks),
            ]:
                mlp.fc1.weight[neuron] = 0
                read(mlp.fc1, neuron, sources, factor)
                mlp.fc1.bias[neuron] = offset
                mlp.fc2.weight[fold, neuron] = weight
                neuron += 1
            mlp.fc2.bias[fold] = slope * reach - 1
            read(model.latent_proj, first + stage, [fold], STEP / 0.5)
            projection[first + stage, 0] = -SHIFT
            spare += 1
    last = model.config.latent_channels - 1
    read(model.latent_proj, last, [channels.is_video], 4.0)
    projection[last, 0] = -2.0 - SHIFT
    projection[last + 1 :, 0] = -9.0


def _start_decoder(model: AtokenModel, image: Pca, video: Pca, counts: list[int], reaches: list[float]) -> int:
    decoder, width, used = model.decoder, model.config.decoder_config.hidden_size, len(counts)
    indicator, is_video, is_image = 1, 2, 3
    next_channel = 4
    first_component = 4 + 3 * (sum(counts) - used)
    a, b = first_component + torch.arange(used), first_component + used + torch.arange(used)
    look_at_neighbours(decoder, [a])
    table = decoder.position_embedding.weight
    table[:, 0] = CONSTANT
    weight = decoder.input_layer.weight.zero_()

    def linear(channel: int, terms: dict[int, float], constant: float) -> None:
        """channel = sum of latents + constant."""
        for latent, factor in terms.items():
            weight[channel, latent] = factor
        table[:, channel] = constant

    neurons = [0] * len(decoder.blocks)

    def neuron(block: int, inputs: dict[int, float], outputs: dict[int, float]) -> None:
        mlp, i = decoder.blocks[block].mlp, neurons[block]
        mlp.fc1.weight[i] = 0
        for channel, value in inputs.items():
            mlp.fc1.weight[i, channel] = value
        for channel, value in outputs.items():
            mlp.fc2.weight[channel, i] = value
        neurons[block] += 1

    def copy(block: int, source: int, outputs: dict[int, float]) -> None:
        neuron(block, {source: 1.0}, outputs)
        neuron(block, {source: -1.0}, {channel: -value for channel, value in outputs.items()})

    def ramp(block: int, inputs: dict[int, float], outputs: dict[int, float]) -> None:
        """outputs += factor * max(0, inputs)."""
        steep_inputs = {channel: value * STEEP for channel, value in inputs.items()}
        neuron(block, steep_inputs, {channel: value / STEEP for channel, value in outputs.items()})

    linear(indicator, {model.config.latent_channels - 1: 1.0}, 0.25)  # -0.75 or 0.75
    for switch, sign in ((is_video, 1.0), (is_image, -1.0)):
        neuron(0, {indicator: 16 * sign}, {switch: 1 / 8})
        neuron(0, {indicator: 16 * sign, 0: -8.0}, {switch: -1 / 8})

    for k, first in enumerate(_first_latents(counts)):
        reach, x = reaches[k], int(a[k])
        if counts[k] == 1:
            linear(x, {first: reach}, reach / 4)
            continue
        # x = reach * q0 + reach / 2 * (place within the cell, which runs backwards in every other cell)
        linear(x, {first: reach}, 0.0)
        place = None
        for stage in reversed(range(1, counts[k])):
            finer, place = place, next_channel
            coarse, parity = next_channel + 1, next_channel + 2
            next_channel += 3
            latent = first + stage
            # The cell's index is 2 q + 2 of 4; its middle, or the place that the finer stage tells.
            linear(place, {latent: 0.5}, 0.625 if finer is None else 0.5)
            if finer is not None:
                _unfold(copy, ramp, 1, finer, finer_parity, place, 0.25)  # noqa: F821
            linear(coarse, {latent - 1: 1.0}, 0.0)
            table[:, parity] = 2.0
            copy(0, coarse, {parity: 2.0})
            ramp(0, {coarse: 1.0, 0: 0.5}, {parity: -4.0})
            ramp(0, {coarse: 1.0}, {parity: 4.0})
            finer_parity = parity
        _unfold(copy, ramp, 2, place, finer_parity, x, reach / 2)

    for k in range(used):
        # A component belongs to the video's basis instead, unless the switch says image.
        for sign in (1.0, -1.0):
            neuron(3, {int(a[k]): sign, is_image: -OFF}, {int(a[k]): -sign, int(b[k]): sign})

    scale = ((CONSTANT**2 + 2 * used) / width) ** 0.5
    for norm in [n for block in decoder.blocks for n in (block.norm1, block.norm2)] + [decoder.out_norm]:
        norm.weight.fill_(scale)
        norm.weight[0] = scale / CONSTANT
    out, frame = decoder.out_layer.weight.zero_(), image.mean.shape[0]
    out[:frame, a] = image.components[:, :used] * image.units[:used]
    out[:, b] = video.components[:, :used] * video.units[:used]
    out[:frame, 0] = image.mean
    out[:, is_video] = video.mean - out[:, 0]
    offer_finer_components(model, image, video, used, first_spare=first_component + 2 * used)
    return first_component


def _unfold(copy, ramp, block: int, place: int, parity: int, target: int, factor: float) -> None:
    """target += factor * (parity ? 1 - place : place), for a place within (0, 1) and a parity of 0 or 1."""
    copy(block, place, {target: factor})
    copy(block, parity, {target: factor})
    ramp(block, {place: 1.0, parity: 1.0, 0: -1.0}, {target: -2 * factor})
