"""How close a reconstruction comes to its original: PSNR and SSIM of 8-bit pixels."""

import importlib.util
import math

import numpy as np
import torch

# Side of the Gaussian window that SSIM compares.
_SSIM_WINDOW = 11


class Quality:
    """
    PSNR and SSIM, gathered piece by piece.

    PSNR is that of the mean squared error over all pixels and frames; SSIM is the mean over frames (Gaussian window of
    11 pixels, sigma 1.5). Both with a data range of 255.
    """

    def __init__(self):
        self.squared_error, self.values = 0, 0
        self.ssim_sum, self.frames = 0.0, 0
        self.has_ssim = importlib.util.find_spec("torchmetrics") is not None

    def add(self, original: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds frames (t, H, W, 3) uint8. Raises ValueError if the shapes differ."""
        if original.shape != reconstruction.shape:
            raise ValueError(f"reconstruction must have shape {original.shape}, got {reconstruction.shape}")
        error = original.astype(np.int32) - reconstruction
        self.squared_error += int(np.square(error).sum(dtype=np.int64))
        self.values += original.size
        self.frames += len(original)
        self.has_ssim = self.has_ssim and min(original.shape[1:3]) >= _SSIM_WINDOW
        if self.has_ssim:
            from torchmetrics.functional.image import structural_similarity_index_measure

            pair = [torch.from_numpy(array).permute(0, 3, 1, 2).float() for array in (reconstruction, original)]
            self.ssim_sum += structural_similarity_index_measure(*pair, data_range=255.0, reduction="sum").item()

    @property
    def psnr(self) -> float | None:
        """In decibels; None for identical pixels, where it is infinite."""
        if self.squared_error == 0:
            return None
        return 10 * math.log10(255**2 * self.values / self.squared_error)

    @property
    def ssim(self) -> float | None:
        """None without torchmetrics, or for sides of less than 11 pixels."""
        return self.ssim_sum / self.frames if self.has_ssim and self.frames else None
