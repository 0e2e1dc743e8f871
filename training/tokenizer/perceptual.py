"""Losses by frozen networks: LPIPS or ST-LPIPS with Gram on the same trunk, and CLIP (paper, equations 5 and 6).

Networks compute as autocast says, and what is made of their features is computed in float32. Where a network is too
slow for whole pictures, as on a CPU, it sees crops of some of a batch's pictures.
"""

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from atoken.evaluation.metrics.feature_networks import gram_matrix, load_lpips, random_lpips
from atoken.evaluation.metrics.st_lpips import StLpipsNetwork, load_st_lpips

PERCEPTUAL_SIDE = 224
# Names of the distances among the parts of the image loss; each has a trunk of its own, which Gram is by, too.
DISTANCES = ("lpips", "st_lpips", "st_lpips_alex")


def perceptual_size(images: torch.Tensor) -> torch.Tensor:
    """Resizes (B, 3, H, W) to (B, 3, 224, 224) float32, bilinear with antialias, for perceptual losses."""
    size = (PERCEPTUAL_SIDE, PERCEPTUAL_SIDE)
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)


@dataclass(frozen=True)
class Crop:
    """Holds which picture of a batch is looked at, and where."""

    index: int
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Crops:
    """
    Says what part of a batch a network looks at: one crop of some of its pictures, at their own resolution.

    Attributes:
        side: of a crop in pixels; a picture with a shorter side is seen along all of it.
        share: of the pictures, rounded, but at least one.

    Raises:
        ValueError: a side that is not positive, or a share outside (0, 1].
    """

    side: int
    share: float

    def __post_init__(self):
        if self.side < 1 or not 0 < self.share <= 1:
            raise ValueError(f"side and share must be positive and at most 1, got {self.side} and {self.share}")

    def choose(self, sizes: Sequence[tuple[int, int]], key: str) -> list[Crop]:
        """
        Chooses crops of pictures of these heights and widths.

        Every picture, and every place in it, is as likely. All is drawn from `key` alone, so it is the same in a run
        that was resumed, and no device is waited for.
        """
        draw = random.Random(key)
        crops = []
        for index in draw.sample(range(len(sizes)), max(1, round(self.share * len(sizes)))):
            lengths = [min(self.side, length) for length in sizes[index]]
            starts = [draw.randint(0, whole - part) for whole, part in zip(sizes[index], lengths, strict=True)]
            crops.append(Crop(index, *(slice(at, at + part) for at, part in zip(starts, lengths, strict=True))))
        return crops


class TrunkLosses(nn.Module):
    """
    Computes a perceptual distance and the Gram loss (equation 5) from one pass through one frozen trunk.

    Gram: G = F F^T / (C H W) of each tap; squared differences are summed over entries and taps and averaged over the
    batch.

    Attributes:
        part: the distance's name, one of `DISTANCES`.
        crops: what is looked at; whole pictures, resized to 224 x 224, if None.
    """

    part: str
    crops: Crops | None = None

    def __init__(self):
        super().__init__()
        self.eval()

    def train(self, mode: bool = True) -> "TrunkLosses":
        """Stays in evaluation mode: the linear layers of LPIPS have dropout."""
        return super().train(False)

    def forward(self, reconstruction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives distance and Gram loss, scalars, of (B, 3, H, W) in [-1, 1] each."""
        return self.of_resized(self._sized(reconstruction), self._sized(target))

    def of_resized(self, reconstruction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives the same of float32 pictures that have the size already that the trunk looks at."""
        with torch.no_grad():
            target_taps = [tap.float() for tap in self._taps(target)]
        taps = [tap.float() for tap in self._taps(reconstruction)]
        with torch.autocast(reconstruction.device.type, enabled=False):
            scaled = [self._scaled_for_gram(one) for one in (taps, target_taps)]
            gram = sum(
                (gram_matrix(one) - gram_matrix(other)).square().sum((1, 2)).mean()
                for one, other in zip(*scaled, strict=True)
            )
            return self._distance(taps, target_taps), gram

    def of_pictures(
        self, reconstructions: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], key: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Gives the same of pictures of any sizes, (1, 3, H, W) in [-1, 1] each.

        Args:
            key: decides on the crops, see `Crops.choose`.
        """
        if self.crops is None:
            whole = (torch.cat([perceptual_size(one) for one in pictures]) for pictures in (reconstructions, targets))
            return self.of_resized(*whole)
        chosen = self.crops.choose([one.shape[-2:] for one in targets], key)
        groups: dict[torch.Size, list[tuple[torch.Tensor, ...]]] = {}
        for crop in chosen:
            pair = tuple(side[crop.index][..., crop.rows, crop.columns] for side in (reconstructions, targets))
            groups.setdefault(pair[0].shape, []).append(pair)
        distance = gram = torch.zeros((), device=targets[0].device)
        for pairs in groups.values():
            found = self.of_resized(*(torch.cat(side).float() for side in zip(*pairs, strict=True)))
            weight = len(pairs) / len(chosen)
            distance, gram = distance + weight * found[0], gram + weight * found[1]
        return distance, gram

    def _sized(self, images: torch.Tensor) -> torch.Tensor:
        return perceptual_size(images) if self.crops is None else images.float()

    def _scaled_for_gram(self, taps: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return taps

    @abstractmethod
    def _taps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gives the trunk's taps of (B, 3, H, W)."""

    @abstractmethod
    def _distance(self, taps: Sequence[torch.Tensor], target_taps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compares taps: a scalar, the mean over the batch."""


class VggLosses(TrunkLosses):
    """
    Computes LPIPS, version 0.1, and Gram loss by the VGG-16 of LPIPS; taps are relu1_2, 2_2, 3_3, 4_3 and 5_3.

    Args:
        weights: torchvision's VGG-16 state dict, or None for torch's download folder.
        random: a trunk of random weights, which must be asked for.

    Raises:
        FileNotFoundError, ImportError, ValueError: see `load_lpips`.
    """

    part = "lpips"

    def __init__(self, weights: str | Path | None = None, random: bool = False):
        super().__init__()
        self.lpips = random_lpips() if random else load_lpips(weights)

    def _taps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.lpips.net(self.lpips.scaling_layer(images)))

    def _distance(self, taps: Sequence[torch.Tensor], target_taps: Sequence[torch.Tensor]) -> torch.Tensor:
        layers = zip(taps, target_taps, self.lpips.lins, strict=True)
        return sum(layer((_unit(one) - _unit(other)).square()).mean() for one, other, layer in layers)


def _unit(features: torch.Tensor, epsilon: float = 1e-10) -> torch.Tensor:
    """Scales (B, C, H, W) to length 1 along channels; the constant is that of LPIPS."""
    return features / (features.square().sum(1, keepdim=True) + epsilon).sqrt()


class StLpipsLosses(TrunkLosses):
    """
    Computes ST-LPIPS and Gram loss by a trunk of ST-LPIPS.

    For Gram, each tap is divided by its root mean square over photographs (`TAP_SCALES`), much as Gatys et al. (2016)
    do. The scale of a layer in a ReLU network is arbitrary, and ST-LPIPS does not depend on it, but Gram does by its
    fourth power: in this VGG-16, relu5_3 would be all of the sum.

    Args:
        trunk: "vgg" or "alex".
        weights: see `load_st_lpips`.
        crops: see `TrunkLosses`.
        network: to be used in place of a trained one.

    Raises:
        FileNotFoundError, ValueError: see `load_st_lpips`.
    """

    # Measured on training photos of the tiny recipe: VGG on 100 at 224 px, AlexNet on crops of 128 px of 200.
    TAP_SCALES = {
        "vgg": (0.0940, 0.0551, 0.0731, 0.700, 17.9),
        "alex": (0.373, 0.302, 0.0683, 0.0268, 0.00962),
    }

    def __init__(
        self,
        trunk: str = "vgg",
        weights: str | Path | None = None,
        crops: Crops | None = None,
        network: StLpipsNetwork | None = None,
    ):
        super().__init__()
        self.network = load_st_lpips(trunk, weights) if network is None else network
        self.crops = crops
        self.part = "st_lpips" if self.network.trunk == "vgg" else f"st_lpips_{self.network.trunk}"

    def _taps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network.taps(images)

    def _distance(self, taps: Sequence[torch.Tensor], target_taps: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.network.distance(taps, target_taps).mean()

    def _scaled_for_gram(self, taps: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return [tap / scale for tap, scale in zip(taps, self.TAP_SCALES[self.network.trunk], strict=True)]


class ClipLoss(nn.Module):
    """
    Computes 1 - cosine of a frozen CLIP image tower's embeddings of reconstruction and target.

    Args:
        tower: a `CLIPVisionModelWithProjection`.
        mean, std: its processor's normalization of RGB in [0, 1].
    """

    def __init__(self, tower: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.tower = tower.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "ClipLoss":
        """Stays in evaluation mode: the tower is frozen."""
        return super().train(False)

    def forward(self, reconstruction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Gives a scalar of (B, 3, H, W) in [-1, 1] each."""
        with torch.no_grad():
            target_embeds = self._embed(target)
        return 1 - F.cosine_similarity(self._embed(reconstruction), target_embeds, dim=-1).mean()

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        size = self.tower.config.image_size
        if images.shape[-2:] != (PERCEPTUAL_SIDE, PERCEPTUAL_SIDE):
            images = perceptual_size(images)
        if size != PERCEPTUAL_SIDE:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        images = ((images + 1) / 2 - self.mean) / self.std
        return self.tower(images.to(self.tower.dtype)).image_embeds.float()
