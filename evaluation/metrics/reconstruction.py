"""Per-sample measures of reconstructions, and the streaming metrics that average them over samples and processes.

Sums are float64, and states are sums, so neither the order of samples, nor the size of batches, nor the number of
processes changes a result.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F
from torchmetrics import Metric

RADIUS, SIGMA = 5, 1.5  # of the window of SSIM, in pixels


def _check_pair(reconstruction: torch.Tensor, original: torch.Tensor) -> None:
    for name, value in (("reconstruction", reconstruction), ("original", original)):
        if not isinstance(value, torch.Tensor) or value.dtype != torch.uint8:
            given = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(
                f"{name}: expected rounded 8-bit values (torch.uint8), got {given}; "
                "for floats in [-1, 1] that is ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)"
            )
    if reconstruction.shape != original.shape or original.ndim != 4 or original.numel() == 0:
        raise ValueError(
            "reconstruction and original: expected one shape (T, C, H, W), "
            f"got {tuple(reconstruction.shape)} and {tuple(original.shape)}"
        )


def psnr(reconstruction: torch.Tensor, original: torch.Tensor) -> float:
    """
    10 log10(255^2 / MSE) in decibels, with one MSE over the whole image or video; infinite for equal pixels.

    Args:
        reconstruction, original: (T, C, H, W) uint8; an image has one frame.

    Raises:
        ValueError: other types or shapes.
    """
    _check_pair(reconstruction, original)
    # 8-bit differences would wrap around; the sum of squares is exact in 64 bits.
    error = reconstruction.to(torch.int32) - original.to(torch.int32)
    squared = int(error.square().sum(dtype=torch.int64))
    return 10 * math.log10(255**2 * error.numel() / squared) if squared else math.inf


def ssim(reconstruction: torch.Tensor, original: torch.Tensor) -> float:
    """
    Structural similarity (Wang et al., 2004; Gaussian window of 11 pixels, sigma 1.5, data range 255), averaged over
    frames and channels.

    It is torchmetrics' definition: borders are continued by reflection and every pixel counts. skimage leaves out the
    outermost 5 pixels, which moves the mean by some 1e-4 at 256 pixels. It is computed in float64: in float32 the
    variances of flat regions are differences of numbers near 65025, which also moves the mean by up to 1e-4.

    Args:
        reconstruction, original: (T, C, H, W) uint8 with sides of at least 11 pixels.

    Raises:
        ValueError: other types or shapes.
    """
    _check_pair(reconstruction, original)
    if min(original.shape[-2:]) < 2 * RADIUS + 1:
        raise ValueError(f"original: SSIM needs sides of at least 11 pixels, got {tuple(original.shape[-2:])}")
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights = (weights / weights.sum()).tolist()
    # One plane at a time stays in the processor's cache, and bounds the memory for long videos.
    planes = zip(reconstruction.flatten(0, 1), original.flatten(0, 1), strict=True)
    values = [_ssim_of_plane(*(plane.double() for plane in pair), weights) for pair in planes]
    return float(torch.stack(values).mean())


def _ssim_of_plane(first: torch.Tensor, second: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Mean over (H, W)."""
    first, second = (F.pad(plane[None], (RADIUS,) * 4, mode="reflect")[0] for plane in (first, second))
    mean1, mean2 = _blur(first, weights), _blur(second, weights)
    square1, square2, product = mean1**2, mean2**2, mean1 * mean2
    variance1 = (_blur(first**2, weights) - square1).clamp(min=0)
    variance2 = (_blur(second**2, weights) - square2).clamp(min=0)
    covariance = _blur(first * second, weights) - product
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar = (2 * product + c1) * (2 * covariance + c2)
    return (similar / ((square1 + square2 + c1) * (variance1 + variance2 + c2))).mean()


def _blur(plane: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """(H + 10, W + 10) -> (H, W). Shifted sums are twenty times as fast as PyTorch's convolution in float64."""
    for axis in (0, 1):
        length = plane.shape[axis] - len(weights) + 1
        total = plane.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(plane.narrow(axis, start, length), alpha=weight)
        plane = total
    return plane


def bits_per_pixel(bits: int, shape: Sequence[int]) -> float:
    """Stored bits over the pixels of (T, C, H, W), every frame counted."""
    frames, _, height, width = shape
    return bits / (frames * height * width)


class SampleMean(Metric):
    """
    Mean over samples of a measure of one sample, infinite values left out and counted apart.

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
    """Mean of `psnr`. Reconstructions without any error are counted in `exact`, not averaged."""

    def __init__(self, **kwargs):
        super().__init__(psnr, **kwargs)


class Ssim(SampleMean):
    """Mean of `ssim`."""

    def __init__(self, **kwargs):
        super().__init__(ssim, **kwargs)


class BitsPerPixel(Metric):
    """Mean over samples of `bits_per_pixel`; `update(bits, shape)` takes one sample."""

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
    How much of its G codebooks a discrete tokenizer uses.

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
        """The same from counts (G, largest codebook)."""
        sizes = torch.tensor(sizes, dtype=torch.float64, device=counts.device)
        shares = counts.double() / counts.sum(1, keepdim=True)
        entropy = -torch.special.xlogy(shares, shares).sum(1)
        return {"usage": float(((counts > 0).sum(1) / sizes).mean()), "perplexity": float(entropy.exp().mean())}


def count_codes(codes: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """
    (G, largest codebook) int64: how often each entry of each codebook occurs in codes (..., G).

    Raises:
        ValueError: codes are not integers within their codebooks.
    """
    if codes.shape[-1] != len(sizes) or codes.is_floating_point():
        raise ValueError(f"codes: expected integers (..., {len(sizes)}), got {codes.dtype} {tuple(codes.shape)}")
    codes, limits = codes.reshape(-1, len(sizes)).cpu().long(), torch.tensor(sizes)
    if ((codes < 0) | (codes >= limits)).any():
        raise ValueError(f"codes: expected values from 0 to below {tuple(sizes)}")
    groups, largest = len(sizes), max(sizes)
    offsets = torch.arange(groups) * largest
    return torch.bincount((codes + offsets).flatten(), minlength=groups * largest).view(groups, largest)
