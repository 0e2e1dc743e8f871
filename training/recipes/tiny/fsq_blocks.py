"""How stage 4 begins at a small size: a block that folds latents into codes, and two that unfold them.

A latent's first channel says in which quarter of its range it is; further ones hold its place within the cell of the
channel before, folded like a triangle wave (as in a Gray code), so that no channel jumps where another one does. One
block at the end of the encoder folds, two at the beginning of the decoder unfold; otherwise both towers are as stage 3
has left them. At step 0 the decoder sees the latents it knows, rounded.

Factors that are powers of 2 and corrections that make up for each other's rounding keep this true in bf16.
"""

from collections.abc import Iterable

import torch
from torch import nn

from atoken import AtokenConfig, AtokenModel, AtokenQuantizerConfig

from .fsq_allocation import LEVELS, Coding
from .pca_start import HAND_WRITTEN, NULL, SWITCHES

STEP = 0.80355  # distance of FSQ's thresholds before its tanh, around -SHIFT
SHIFT = 0.34621
SURE = 8.0  # gelu(x) = max(0, x) for x = 8, 0 and -8: what one step of a code is to a neuron
ENCODER_BLOCKS, DECODER_BLOCKS = 1, 2

Rows = list[tuple[nn.Parameter, torch.Tensor]]


@torch.no_grad()
def add_blocks(model: AtokenModel, coding: Coding, num_spare: int) -> tuple[AtokenModel, Rows]:
    """
    Makes a discrete model with more blocks on either side.

    Args:
        model: a continuous one with spare channels, see `start_from_pca`.
        coding: of at most as many channels as there are latents.
        num_spare: how many spare channels there are, see `spare_channels`.

    Returns:
        The model, and rows of its parameters that hold what is written here and that training leaves alone.

    Raises:
        ValueError: too few spare channels.
    """
    needed = int((coding.counts - 1).sum())
    if num_spare < needed:
        raise ValueError(f"num_spare must be at least {needed} for this coding, got {num_spare}")
    discrete = _with_room(model)
    _Folding(discrete, model, NULL + 1 + torch.arange(num_spare)).write(coding)
    _Unfolding(discrete, model, SWITCHES + torch.arange(num_spare)).write(coding)
    return discrete, _written_rows(discrete, NULL + 1 + num_spare, SWITCHES + num_spare)


def moved_name(name: str) -> str:
    """Gives the name that a parameter of the continuous model has in the discrete one: decoder blocks make room."""
    prefix = "decoder.blocks."
    if not name.startswith(prefix):
        return name
    index, rest = name.removeprefix(prefix).split(".", 1)
    return f"{prefix}{int(index) + DECODER_BLOCKS}.{rest}"


def _new_blocks(model: AtokenModel) -> tuple[list[nn.Module], list[nn.Module]]:
    """Lists the new blocks of encoder and decoder."""
    return list(model.vision_model.blocks[-ENCODER_BLOCKS:]), list(model.decoder.blocks[:DECODER_BLOCKS])


def _with_room(model: AtokenModel) -> AtokenModel:
    """Makes the model with FSQ, and new blocks that add nothing yet: copies of their neighbors whose outputs are 0."""
    values = model.config.to_dict()
    for tower, more in (("vision_config", ENCODER_BLOCKS), ("decoder_config", DECODER_BLOCKS)):
        values[tower] = {**values[tower], "num_hidden_layers": values[tower]["num_hidden_layers"] + more}
    values |= {"quantizer_config": AtokenQuantizerConfig().to_dict(), "latents_mean": None, "latents_std": None}
    discrete = AtokenModel(AtokenConfig.from_dict(values))
    discrete.load_state_dict({moved_name(name): value for name, value in model.state_dict().items()}, strict=False)
    for blocks, neighbor in zip(
        _new_blocks(discrete), (model.vision_model.blocks[-1], model.decoder.blocks[0]), strict=True
    ):
        for block in blocks:
            block.load_state_dict(neighbor.state_dict())
            nn.init.normal_(block.mlp.fc1.weight, std=0.05)
            for parameter in (*block.attn.out_proj.parameters(), block.mlp.fc1.bias, *block.mlp.fc2.parameters()):
                if parameter is not None:
                    nn.init.zeros_(parameter)
    return discrete


class _Neurons:
    """Hands out the neurons of an MLP, one after another."""

    def __init__(self, mlp: nn.Module):
        self.mlp, self.used = mlp, 0

    def add(self, reads: torch.Tensor, offset: float, writes: torch.Tensor | dict[int, float]) -> None:
        """Adds gelu(reads @ normed + offset), written with these weights to all channels, or to some of them."""
        self.mlp.fc1.weight[self.used] = reads
        if self.mlp.fc1.bias is None:
            self.mlp.fc1.weight[self.used, 0] += offset  # the decoder's first channel is a constant
        else:
            self.mlp.fc1.bias[self.used] = offset
        if isinstance(writes, dict):
            for channel, weight in writes.items():
                self.mlp.fc2.weight[channel, self.used] = weight
        else:
            self.mlp.fc2.weight[:, self.used] = writes
        self.used += 1


class _Folding:
    """Writes the encoder's last block and norm, and the projection."""

    def __init__(self, model: AtokenModel, before: AtokenModel, spare: torch.Tensor):
        self.model, self.spare = model, spare
        self.projection = before.latent_proj.weight.detach()[: before.config.latent_channels]
        self.neurons = _Neurons(model.vision_model.blocks[-1].mlp)

    def write(self, coding: Coding) -> None:
        """Writes what folds this coding."""
        tower, spare = self.model.vision_model, self.spare
        norm = tower.post_layernorm
        tower.position_embedding.weight[:, spare] = 0
        # The block reads what the projection reads; only the projection reads folds.
        tower.blocks[-1].norm2.load_state_dict(norm.state_dict())
        norm.weight[spare] = float(norm.weight[NULL])
        if tower.head is not None:
            tower.head.attention.kv_proj.weight[:, spare] = 0
        rows = self.model.latent_proj.weight.zero_()
        rows[len(self.projection) :, 0] = -9.0  # log-variance; codes have none
        place = fold = 0
        for k, latent in enumerate(coding.latents.tolist()):
            row, center, reach = self.projection[latent], float(coding.centers[k]), float(coding.reaches[k])
            rows[place] = row * (2 * STEP / reach)
            rows[place, 0] -= SHIFT + center * 2 * STEP / reach
            for stage in range(1, int(coding.counts[k])):
                channel = int(spare[fold])
                self._fold(row, center, reach, LEVELS**stage, channel)
                rows[place + stage, channel], rows[place + stage, NULL] = 2 * STEP, -2 * STEP
                rows[place + stage, 0] = -SHIFT
                fold += 1
            place += int(coding.counts[k])
        rows[place : len(self.projection), 0] = -SHIFT

    def _fold(self, row: torch.Tensor, center: float, reach: float, flanks: int, channel: int) -> None:
        """Makes the channel a triangle wave from -1 to 1 with so many flanks: a line, and a kink between two."""
        slope = flanks / reach
        steep = 2.0 ** round(torch.tensor(4 * SURE * slope).log2().item())
        self.neurons.add(row, -center, {channel: slope})
        self.neurons.add(-row, center, {channel: -slope})
        for i in range(1, flanks):
            kink = center + (2 * i / flanks - 1) * reach
            self.neurons.add(steep * row, -steep * kink, {channel: 2 * slope * (-1) ** i / steep})
        self.neurons.mlp.fc2.bias[channel] = flanks - 1


class _Unfolding:
    """Writes the decoder's first blocks and what comes before them."""

    def __init__(self, model: AtokenModel, before: AtokenModel, spare: torch.Tensor):
        self.decoder = model.decoder
        self.entrance = before.decoder.input_layer.weight.detach()
        self.free = iter(spare.tolist())
        first, second = self.decoder.blocks[:DECODER_BLOCKS]
        scale = float(first.norm2.weight[1])
        for block in (first, second):
            block.norm2.weight[spare] = scale
        self.first, self.second = _Neurons(first.mlp), _Neurons(second.mlp)
        self.table, self.weight = self.decoder.position_embedding.weight, self.decoder.input_layer.weight.zero_()
        self.table[:, spare] = 0
        # How much longer a token's norm is than `scale` expects, which is where neurons lose a little.
        self.gain = scale / float(self.table.square().sum(1).mean().div(self.table.shape[1]).sqrt())

    def write(self, coding: Coding) -> None:
        """Writes what unfolds this coding."""
        coded = set(coding.latents.tolist())
        constants = sum(
            self.entrance[:, latent] * float(mean) for latent, mean in enumerate(coding.means) if latent not in coded
        )
        write = {1: self._single, 2: self._double, 3: self._triple}
        place = 0
        for k, latent in enumerate(coding.latents.tolist()):
            count = int(coding.counts[k])
            center, reach = float(coding.centers[k]), float(coding.reaches[k])
            constants = constants + write[count](place, self.entrance[:, latent], coding.values[k], center, reach)
            place += count
        self.table += constants

    # Each returns what is always added. A channel q of -1, -0.5, 0 or 0.5 is the digit 2 q + 2.

    def _single(
        self, place: int, column: torch.Tensor, values: torch.Tensor, center: float, reach: float
    ) -> torch.Tensor:
        self.weight[:, place] = column * (2 * float(values[2] - values[1]))
        return column * float(values[2])

    def _double(
        self, place: int, column: torch.Tensor, values: torch.Tensor, center: float, reach: float
    ) -> torch.Tensor:
        """Writes a function of 4 coarse + fine: a line, and what a neuron at each kink adds."""
        values = _in_code_order(values)
        channel = next(self.free)
        self._count(place, channel)
        slope = float(values[12:].mean() - values[:4].mean()) / 12
        self.weight[:, place] += column * (8 * slope)
        self.weight[:, place + 1] += column * (2 * slope)
        for kink, sign, change in _kinks(values, slope):
            self._ramp(self.first, channel, sign, (kink - 7.5) / 16, 16.0, column * change)
        return column * (float(values[7] + values[8]) / 2 + 2.5 * slope)

    def _triple(
        self, place: int, column: torch.Tensor, values: torch.Tensor, center: float, reach: float
    ) -> torch.Tensor:
        """Writes the quarter, and the place within it, which runs backwards in every other quarter."""
        within, backwards = next(self.free), next(self.free)
        # First block: the place, 0 to 1, from the two finer digits, and whether it runs backwards, 0 or 1.
        self._count(place + 1, within)
        places = _in_code_order((torch.arange(16) + 0.5) / 16)
        middle = float(places[7] + places[8]) / 2
        self.table[:, within] += middle
        for kink, sign, change in _kinks(places, 1 / 16):
            self._ramp(self.first, within, sign, (kink - 7.5) / 16 + middle, 16.0, {within: change})
        self.weight[backwards, place] = 1.0
        self.table[:, backwards] = 1.0  # now half the digit
        for kink, change in ((0, 0.5), (1, -2.0), (2, 2.0)):
            self._ramp(self.first, backwards, 1.0, kink / 2, 2.0, {backwards: change})
        # Second block: for b = 0 or 1, (1 - b) p + b (1 - p) = (b + p) - 2 max(0, b + p - 1).
        reads = torch.zeros_like(column)
        reads[within] = reads[backwards] = 8 * SURE
        self.second.add(reads, 0.0, column * (reach / 2 / (8 * SURE) / self.gain))
        self.second.add(reads, -8 * SURE, column * (-reach / (8 * SURE) / self.gain))
        self.weight[:, place] += column * reach
        return column * center

    def _count(self, place: int, channel: int) -> None:
        """Makes the channel (4 coarse + fine - 7.5) / 16 of two digits."""
        self.weight[channel, place], self.weight[channel, place + 1] = 0.5, 0.125
        self.table[:, channel] = 2.5 / 16

    def _ramp(
        self,
        neurons: _Neurons,
        channel: int,
        sign: float,
        kink: float,
        per_unit: float,
        writes: torch.Tensor | dict[int, float],
    ) -> None:
        """Adds writes * max(0, sign * (value - kink) * per_unit), where the value moves in steps of 1 / per_unit."""
        reads = torch.zeros(self.weight.shape[0])
        reads[channel] = sign * SURE * per_unit
        factor = 1 / SURE / self.gain
        scaled = {c: w * factor for c, w in writes.items()} if isinstance(writes, dict) else writes * factor
        neurons.add(reads, -sign * SURE * per_unit * kink, scaled)


def _in_code_order(values: torch.Tensor) -> torch.Tensor:
    """Orders 16 cells' values, low to high, by 4 coarse + fine, whose fine digit runs backwards in odd quarters."""
    quarters = values[: LEVELS**2].unflatten(0, (LEVELS, LEVELS)).clone()
    quarters[1::2] = quarters[1::2].flip(1)
    return quarters.flatten()


def _kinks(values: torch.Tensor, slope: float) -> list[tuple[int, float, float]]:
    """
    Gives what a function of 0 to 15 has over a line of this slope through (7.5, mean of 7 and 8), as ramps away from
    the middle: (kink, direction, slope).

    Each ramp makes up for what rounding to bf16 has left open before it.
    """
    found = []
    middle = float(values[7] + values[8]) / 2
    for sign, kinks in ((1.0, range(7, 15)), (-1.0, range(8, 0, -1))):
        ramps: list[tuple[int, float]] = []
        for kink in kinks:
            reached = kink + int(sign)
            at = middle + slope * (reached - 7.5) + sum(change * abs(reached - place) for place, change in ramps)
            change = float(torch.tensor(float(values[reached]) - at).bfloat16())
            ramps.append((kink, change))
            found.append((kink, sign, change))
    return found


def _written_rows(model: AtokenModel, encoder_rows: int, decoder_rows: int) -> Rows:
    """Lists all that lets codes be what they are at the start, and the first channels of all new layers."""
    tower, decoder = model.vision_model, model.decoder
    rows: Rows = [(p, torch.arange(len(p))) for p in _parameters(tower.post_layernorm, model.latent_proj)]
    rows.append((decoder.input_layer.weight, torch.arange(decoder_rows)))
    for blocks, first in zip(_new_blocks(model), (encoder_rows, decoder_rows), strict=True):
        for block in blocks:
            written = (block.mlp.fc1.weight.abs().amax(1) > HAND_WRITTEN).nonzero().squeeze(1)
            rows += [(p, written) for p in block.mlp.fc1.parameters()]
            rows += [(p, torch.arange(first)) for p in _parameters(block.norm1, block.attn.out_proj)]
            rows += [(p, torch.arange(len(p))) for p in _parameters(block.norm2, block.mlp.fc2)]
    return rows


def _parameters(*modules: nn.Module) -> Iterable[nn.Parameter]:
    return (parameter for module in modules for parameter in module.parameters())
