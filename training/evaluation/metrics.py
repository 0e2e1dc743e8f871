"""Per-sample measures of reconstructions, and the streaming metrics that average them over samples and processes.

Sums are float64, and states are sums, so neither the order of samples, nor the size of batches, nor the number of
processes changes a result.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure


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
    Structural similarity (Gaussian window of 11 pixels, sigma 1.5, data range 255), averaged over frames.

    It is torchmetrics' definition: borders are continued by reflection and every pixel counts. skimage leaves out the
    outermost 5 pixels, which moves the mean by some 1e-4 at 256 pixels.

    Args:
        reconstruction, original: (T, C, H, W) uint8 with sides of at least 11 pixels.

    Raises:
        ValueError: other types or shapes.
    """
    _check_pair(reconstruction, original)
    if min(original.shape[-2:]) < 11:
        raise ValueError(f"original: SSIM needs sides of at least 11 pixels, got {tuple(original.shape[-2:])}")
    # In float32 the variances of flat regions would be differences of numbers near 65025. One frame at a time bounds
    # the memory.
    frames = zip(reconstruction.double().split(1), original.double().split(1), strict=True)
    values = [structural_similarity_index_measure(a, b, data_range=255.0) for a, b in frames]
    return float(torch.stack(values).mean())


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
