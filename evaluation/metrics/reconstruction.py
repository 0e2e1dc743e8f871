"""Streaming metrics that average measures of single reconstructions over samples and processes.

Sums are float64, and states are sums, so neither the order of samples, nor the size of batches, nor the number of
processes changes a result.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torchmetrics import Metric

from atoken.tokenizing.quality import psnr, ssim


def bits_per_pixel(bits: int, shape: Sequence[int]) -> float:
    """Divides stored bits by the pixels of (T, C, H, W), every frame counted."""
    frames, _, height, width = shape
    return bits / (frames * height * width)


class SampleMean(Metric):
    """
    Averages a measure of one sample over samples; infinite values are left out and counted apart.

    `update(reconstructions, originals)` takes batches (B, T, C, H, W) uint8 or lists of (T, C, H, W); `compute()` is a
    float64 scalar, NaN without samples.
    """

    full_state_update = False

    def __init__(self, measure: Callable[[torch.Tensor, torch.Tensor], float], **kwargs):
        super().__init__(**kwargs)
        self.measure = measure
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("exact", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, reconstructions: Sequence[torch.Tensor], originals: Sequence[torch.Tensor]) -> None:
        for reconstruction, original in zip(reconstructions, originals, strict=True):
            value = self.measure(reconstruction, original)
            if math.isinf(value):
                self.exact += 1
            else:
                self.total += value
                self.count += 1

    def compute(self) -> torch.Tensor:
        return self.total / self.count


class Psnr(SampleMean):
    """Averages `psnr`. Reconstructions without any error are counted in `exact`, not averaged."""

    def __init__(self, **kwargs):
        super().__init__(psnr, **kwargs)


class Ssim(SampleMean):
    """Averages `ssim`."""

    def __init__(self, **kwargs):
        super().__init__(ssim, **kwargs)


class BitsPerPixel(Metric):
    """Averages `bits_per_pixel` over samples; `update(bits, shape)` takes one sample."""

    full_state_update = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, bits: int, shape: Sequence[int]) -> None:
        self.total += bits_per_pixel(bits, shape)
        self.count += 1

    def compute(self) -> torch.Tensor:
        return self.total / self.count


class CodebookUse(Metric):
    """
    Measures how much of its G codebooks a discrete tokenizer uses.

    `update(codes)` takes (..., G) integers. `compute()` gives "usage", the share of entries that occur, and
    "perplexity", exp of the entropy in nats of how often they do; both are means over codebooks.

    Args:
        sizes: entries of each codebook.
    """

    full_state_update = False

    def __init__(self, sizes: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)
        self.add_state("counts", torch.zeros(len(self.sizes), max(self.sizes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, codes: torch.Tensor) -> None:
        self.counts += count_codes(codes, self.sizes).to(self.counts.device)

    def compute(self) -> dict[str, float]:
        return self.from_counts(self.counts, self.sizes)

    @staticmethod
    def from_counts(counts: torch.Tensor, sizes: Sequence[int]) -> dict[str, float]:
        """Computes the same from counts (G, largest codebook)."""
        sizes = torch.tensor(sizes, dtype=torch.float64, device=counts.device)
        shares = counts.double() / counts.sum(1, keepdim=True)
        entropy = -torch.special.xlogy(shares, shares).sum(1)
        return {"usage": float(((counts > 0).sum(1) / sizes).mean()), "perplexity": float(entropy.exp().mean())}


def count_codes(codes: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """
    Counts how often each entry of each codebook occurs in codes (..., G): (G, largest codebook) int64.

    Raises:
        ValueError: codes are not integers within their codebooks.
    """
    if codes.shape[-1] != len(sizes) or codes.is_floating_point():
        raise ValueError(f"codes must be integers (..., {len(sizes)}), got {codes.dtype} {tuple(codes.shape)}")
    codes, limits = codes.reshape(-1, len(sizes)).cpu().long(), torch.tensor(sizes)
    if ((codes < 0) | (codes >= limits)).any():
        given = f"{int(codes.min())} to {int(codes.max())}"
        raise ValueError(f"codes must be from 0 to below {tuple(sizes)}, got {given}")
    groups, largest = len(sizes), max(sizes)
    offsets = torch.arange(groups) * largest
    return torch.bincount((codes + offsets).flatten(), minlength=groups * largest).view(groups, largest)
