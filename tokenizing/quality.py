"""PSNR and SSIM of 8-bit pixels, of whole tensors and gathered piece by piece."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

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
    Computes 10 log10(255^2 / MSE) in decibels, with one MSE over the image or video; infinite for equal pixels.

    Args:
        reconstruction, original: (T, C, H, W) uint8; an image has one frame.

    Raises:
        ValueError: other types or shapes.
    """
    _check_pair(reconstruction, original)
    return _decibels(_squared_error(reconstruction, original), original.numel())


def _squared_error(reconstruction: torch.Tensor, original: torch.Tensor) -> int:
    """The exact sum over all values: 8-bit differences would wrap around, and sums in floats round."""
    error = reconstruction.to(torch.int32) - original.to(torch.int32)
    return int(error.square().sum(dtype=torch.int64))


def _decibels(squared_error: int, values: int) -> float:
    return 10 * math.log10(255**2 * values / squared_error) if squared_error else math.inf


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
        raise ValueError(f"original must have sides of at least 11 pixels for SSIM, got {tuple(original.shape[-2:])}")
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


class Quality:
    """
    Gathers PSNR and SSIM of one image or video that comes in pieces.

    PSNR is that of the mean squared error over all pixels and frames; SSIM is the mean over frames.
    """

    def __init__(self):
        self._squared_error, self._values = 0, 0
        self._ssim_sum, self._frames = 0.0, 0
        self._has_ssim = True

    def add(self, original: np.ndarray, reconstruction: np.ndarray) -> None:
        """
        Adds frames (t, H, W, 3) uint8.

        Raises:
            ValueError: the shapes differ.
        """
        if original.shape != reconstruction.shape:
            raise ValueError(f"reconstruction must have shape {original.shape}, got {reconstruction.shape}")
        pair = [torch.from_numpy(array).permute(0, 3, 1, 2) for array in (reconstruction, original)]
        self._squared_error += _squared_error(*pair)
        self._values += original.size
        self._frames += len(original)
        self._has_ssim = self._has_ssim and min(original.shape[1:3]) > 2 * RADIUS
        if self._has_ssim and len(original):
            self._ssim_sum += ssim(*pair) * len(original)

    @property
    def psnr(self) -> float | None:
        """Gives decibels; None for identical pixels, where they are infinite."""
        return _decibels(self._squared_error, self._values) if self._squared_error else None

    @property
    def ssim(self) -> float | None:
        """Gives the mean over frames; None for sides of less than 11 pixels."""
        return self._ssim_sum / self._frames if self._has_ssim and self._frames else None
