"""A Gaussian decoder that sees surfaces before it is trained: heads that look around, and a fitted last layer."""

import math
import random
from pathlib import Path

import torch

from atoken import AtokenGaussianDecoder
from atoken.gaussians_atoken import SH_C0

from .local_averages import look_around
from .surface_loss import DEPTH, inward
from .surface_steps import ObjectSurface

REACH = 0.75  # of centers from that of their voxel, in voxels
_RANGE = 2.0  # of raw offsets
_RIDGE = 1e-5
_OBJECTS, _PATCHES = 48, 200  # that the start is fitted to, and patches of each for principal components


def see_surfaces(decoder: AtokenGaussianDecoder, paths: list[Path], rng: random.Random) -> None:
    """
    Sets the first blocks, by `look_around`, and the last layer, by least squares, of an untrained decoder.

    Args:
        decoder: on the CPU.
        paths: prepared objects.
        rng: chooses some of them, and of a large one a part.
    """
    items = [ObjectSurface.load(path).part(rng) for path in rng.sample(paths, min(_OBJECTS, len(paths)))]
    patches = [item.rgb[:: math.ceil(len(item.rgb) / _PATCHES)].float() / 127.5 - 1 for item in items]
    look_around(decoder, torch.cat(patches))
    fit_last_layer(decoder, items)


@torch.no_grad()
def fit_last_layer(decoder: AtokenGaussianDecoder, items: list[ObjectSurface]) -> None:
    """
    Adds to the last layer what moves a voxel's Gaussians together to `DEPTH` under its surface, and in its mean color.

    Args:
        decoder: whose other outputs stay as they are.
        items: objects to fit it to, whole or in parts.
    """
    count, width = decoder.config.num_gaussians, decoder.config.hidden_size
    square = torch.zeros(width + 1, width + 1, dtype=torch.float64)
    product = torch.zeros(width + 1, 6, dtype=torch.float64)
    seen = []
    hook = decoder.out_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        for item in items:
            lengths = torch.tensor([0, len(item.coords)], dtype=torch.int32)
            decoder(item.rgb.float() / 127.5 - 1, item.coords, lengths)
            hidden = torch.nn.functional.pad(seen.pop().double(), (0, 1), value=1.0)  # (N, width + 1)
            known, surface = item.surface.counts > 0, item.surface
            place = surface.places.double().mean(1) / 255 - 0.5 + DEPTH * inward(surface.normals.double() / 127)
            offset = raw_offsets(place, decoder.offset_perturbation.double())
            color = (surface.rgb.double().mean(1) / 255 - 0.5) / SH_C0
            hidden, wanted = hidden[known], torch.cat([offset, color], 1)[known]
            square += hidden.mT @ hidden / len(item.coords)
            product += hidden.mT @ wanted / len(item.coords)
    finally:
        hook.remove()
    square += _RIDGE * square.diagonal().mean() * torch.eye(width + 1, dtype=torch.float64)
    fitted = torch.linalg.solve(square, product).float().mT  # (6, width + 1)
    for rows, part in ((slice(0, 3 * count), fitted[:3]), (slice(3 * count, 6 * count), fitted[3:])):
        decoder.out_layer.weight[rows] += part[:, :-1].repeat(count, 1)
        decoder.out_layer.bias[rows] += part[:, -1].repeat(count)


def raw_offsets(places: torch.Tensor, perturbation: torch.Tensor) -> torch.Tensor:
    """
    Inverts the activation of centers: what to give to all Gaussians of a voxel so that their mean lies at a place.

    Args:
        places: (N, 3), from the voxel's center, in voxels.
        perturbation: (G, 3), what the decoder adds to the output of each.
    """
    raw = torch.linspace(-_RANGE, _RANGE, 401, dtype=torch.float64)
    means = REACH * torch.tanh(raw[:, None, None] + perturbation).mean(1)  # (401, 3), rising
    above = torch.searchsorted(means.mT.contiguous(), places.mT.contiguous()).clamp(1, len(raw) - 1).mT  # (N, 3)
    low, high = means.gather(0, above - 1), means.gather(0, above)
    share = ((places - low) / (high - low)).clamp(0, 1)
    return raw[above - 1] + share * (raw[1] - raw[0])
