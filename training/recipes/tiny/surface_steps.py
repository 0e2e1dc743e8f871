"""The first steps of a Gaussian decoder: where surfaces are and of which color, learned without drawing pictures."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from atoken import AtokenGaussianDecoder

from ...data.surface_samples import SurfaceSamples
from .stepping import average, descend, set_rates
from .surface_loss import surface_loss

# Of an object that has more, those around one of them are a step's: a step then takes less than half a second.
MOST_VOXELS = 4096
_REPORT = 100  # steps


@dataclass(frozen=True, eq=False)
class ObjectSurface:
    """
    Holds what `python -m atoken.training.data.prepare_objects` writes of an object's surface.

    Args:
        coords: (N, 3) int64.
        rgb: (N, 768) uint8, the patches that are encoded.
        surface: points of each voxel.
    """

    coords: torch.Tensor
    rgb: torch.Tensor
    surface: SurfaceSamples

    @classmethod
    def load(cls, path: Path) -> "ObjectSurface":
        """Reads the file of an object. Raises ValueError for one that was prepared without its surface."""
        names = ("surface", "surface_normals", "surface_rgb", "surface_counts")
        with safe_open(path, "pt") as data:
            if not set(names) <= set(data.keys()):
                raise ValueError(
                    f"OBJECTS must hold points of surfaces to learn them, got {path} without; remove it and run "
                    "prepare_objects again"
                )
            surface = SurfaceSamples(*(data.get_tensor(name) for name in names))
            return cls(data.get_tensor("coords").long(), data.get_tensor("rgb"), surface)

    def part(self, rng: random.Random) -> "ObjectSurface":
        """Gives all of it, or of an object that has more than `MOST_VOXELS` those around a random one."""
        voxels = len(self.coords)
        return self if voxels <= MOST_VOXELS else self.near(rng.randrange(voxels), MOST_VOXELS)

    def near(self, voxel: int, count: int) -> "ObjectSurface":
        """Cuts out the `count` voxels nearest to one, in its order."""
        away = (self.coords - self.coords[voxel]).abs().amax(1)
        kept = away.argsort(stable=True)[:count].sort().values
        return ObjectSurface(self.coords[kept], self.rgb[kept], self.surface[kept])


def learn_surfaces(
    decoder: AtokenGaussianDecoder,
    averaged: AtokenGaussianDecoder,
    optimizers: list[torch.optim.Optimizer],
    paths: list[Path],
    minutes: float,
    rng: random.Random,
    report: Callable[[float], object],
) -> list[dict[str, float]]:
    """
    Trains a decoder by `surface_loss` on patches as they are encoded, which no tokenizer has to decode.

    Args:
        decoder: is trained.
        averaged: a copy of it, which receives the average of its weights.
        optimizers: of the decoder, with peak rates.
        paths: prepared objects.
        minutes: time for steps.
        rng: chooses objects and parts of them.
        report: is told the minutes so far after every step.

    Returns:
        The mean loss of every 100 steps and of the rest, with the number of steps and the minutes so far.
    """
    device, resolution = next(decoder.parameters()).device, decoder.config.resolution
    curve, recent, spent, step = [], [], 0.0, 0
    while spent < minutes:
        began = time.monotonic()
        set_rates(optimizers, spent / minutes, warm_up=0.02, first=1e-3)
        item = ObjectSurface.load(rng.choice(paths)).part(rng)
        coords = item.coords.to(device)
        lengths = torch.tensor([0, len(coords)], dtype=torch.int32, device=device)
        gaussians = decoder(item.rgb.to(device).float() / 127.5 - 1, coords, lengths)[0]
        loss = surface_loss(gaussians, coords, item.surface.to(device), resolution)
        descend(loss, decoder, optimizers)
        step += 1
        average(averaged, decoder, step)
        recent.append(loss.detach())
        spent += (time.monotonic() - began) / 60
        report(spent)
        if step % _REPORT == 0 or spent >= minutes:
            mean_loss = float(torch.stack(recent).mean())
            curve.append({"step": step, "minutes": round(spent, 1), "loss": mean_loss})
            recent.clear()
    return curve
