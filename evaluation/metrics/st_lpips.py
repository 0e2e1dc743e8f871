"""ST-LPIPS, the shift-tolerant perceptual distance of Ghildyal and Liu (2022), with VGG-16 and with AlexNet.

Trunks are pooled with stride 1 and then blurred, so that a shift by a pixel hardly counts. It has a scale of its own
and must not be compared with LPIPS. Its weights, trunks and learned heads, are in an ordinary package.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from .weight_files import load_weights, packaged_file, read_weights

REQUIREMENT = "stlpips-pytorch==0.0.2"
FILES = {name: f"weights/vST0.0/{name}_shift_tolerant.pth" for name in ("vgg", "alex")}
# Of each block: channels of its convolutions; the last ReLU of each block is a tap.
_VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Of pictures in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class _Blur(nn.Module):
    """Filters each channel with [1 2 1] x [1 2 1] / 16 and takes every second pixel, reflected by 2 at the borders."""

    def __init__(self):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(row, row)[None, None], persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        channels = features.shape[1]
        padded = F.pad(features, (2, 2, 2, 2), mode="reflect")
        return F.conv2d(padded, self.kernel.expand(channels, 1, 3, 3), stride=2, groups=channels)


def _vgg_blocks() -> list[nn.Module]:
    blocks, channels = [], 3
    for index, widths in enumerate(_VGG):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 1), _Blur()] if index else []
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        blocks.append(nn.Sequential(*layers))
    return blocks


def _alex_blocks() -> list[nn.Module]:
    return [
        nn.Sequential(nn.Conv2d(3, 64, 11, padding=2), _Blur(), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 1), _Blur(), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 1), _Blur(), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


class StLpipsNetwork(nn.Module):
    """
    Holds a trunk with the heads of its five taps. It is frozen and stays in evaluation mode; its weights are random
    unless `load_st_lpips` made it.

    Args:
        trunk: "vgg" or "alex".

    Attributes:
        channels: of the five taps.

    Raises:
        ValueError: another trunk.
    """

    # Sides below these would vanish between the pools.
    SMALLEST = {"vgg": 18, "alex": 21}

    def __init__(self, trunk: str = "vgg"):
        super().__init__()
        if trunk not in FILES:
            raise ValueError(f"trunk must be one of {', '.join(FILES)}, got {trunk!r}")
        self.trunk = trunk
        self.blocks = nn.ModuleList(_vgg_blocks() if trunk == "vgg" else _alex_blocks())
        convolutions = [[one for one in block if isinstance(one, nn.Conv2d)][-1] for block in self.blocks]
        self.channels = tuple(one.out_channels for one in convolutions)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in self.channels)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "StLpipsNetwork":
        """Stays in evaluation mode: the network is frozen."""
        return super().train(False)

    def taps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Gives the last ReLU of each of the five blocks of (N, 3, H, W) in [-1, 1]: (N, C, height, width) each.

        Raises:
            ValueError: a side is below `SMALLEST`.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.SMALLEST[self.trunk]:
            least = self.SMALLEST[self.trunk]
            raise ValueError(f"images must be at least {least} x {least} pixels for ST-LPIPS, got {height} x {width}")
        hidden, found = (images - self.shift) / self.scale, []
        for block in self.blocks:
            hidden = block(hidden)
            found.append(hidden)
        return tuple(found)

    def distance(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> torch.Tensor:
        """
        Compares taps of as many pictures: (N,).

        Each tap is scaled to length 1 along channels; squared differences are weighed by the heads, averaged over space
        and summed over taps.
        """
        parts = [
            head((_unit(one) - _unit(other)).square()).mean((1, 2, 3))
            for one, other, head in zip(first, second, self.heads, strict=True)
        ]
        return torch.stack(parts).sum(0)


def _unit(features: torch.Tensor) -> torch.Tensor:
    # Not differentiable at 0 without a constant under the root; it is too small to be seen in a distance.
    length = (features.square().sum(1, keepdim=True) + _EPSILON**2).sqrt()
    return features / (length + _EPSILON)


def load_st_lpips(trunk: str = "vgg", weights: str | Path | None = None) -> StLpipsNetwork:
    """
    Loads a trained network.

    Args:
        trunk: "vgg" or "alex".
        weights: vgg_shift_tolerant.pth or alex_shift_tolerant.pth, or None for the one inside the installed package
            stlpips-pytorch (BSD-2-Clause).

    Raises:
        FileNotFoundError: no weights; says how to get them.
        ValueError: another trunk, or weights that do not fit.
    """
    network = StLpipsNetwork(trunk)
    name = f"st-lpips-{trunk}"
    path = packaged_file(weights, REQUIREMENT, FILES[trunk], name)
    load_weights(network, _renamed(read_weights(path, name), network), name, path)
    return network


def _renamed(state: dict[str, torch.Tensor], network: StLpipsNetwork) -> dict[str, torch.Tensor]:
    """Gives the package's weights the names here: its layers are numbered through, and its filters are constants."""
    found = {}
    for name, value in state.items():
        if match := re.fullmatch(r"lin(\d)\.model\.1\.weight", name):
            found[f"heads.{match[1]}.weight"] = value
        elif not name.endswith(".filt") and not name.startswith("scaling_layer."):
            found[name] = value
    ours = [name for name in network.state_dict() if name.startswith("blocks.")]
    # Weight and bias of one layer after the other.
    theirs = sorted((name for name in found if name.startswith("net.")), key=_layer_of)
    for name, other in zip(ours, theirs, strict=False):
        found[name] = found.pop(other)
    return found


def _layer_of(name: str) -> tuple[int, bool]:
    number = re.search(r"\.(\d+)\.(weight|bias)$", name)
    return (int(number[1]), number[2] == "bias") if number else (-1, False)


class StLpips(nn.Module):
    """
    Computes ST-LPIPS of uint8 pictures at their own size, scaled to [-1, 1].

    Args:
        trunk, weights: see `load_st_lpips`, also for what it raises.
    """

    def __init__(self, trunk: str = "vgg", weights: str | Path | None = None):
        super().__init__()
        self.network = load_st_lpips(trunk, weights)

    def forward(self, reconstruction: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Compares (N, 3, H, W) uint8 with as many originals: (N,)."""
        taps = [self.network.taps(pictures / 127.5 - 1) for pictures in (reconstruction, original)]
        return self.network.distance(*taps)
