"""Finite scalar quantization (Mentzer et al., 2023; AToken paper, section 3.4, stage 4)."""

import math

import torch
from torch import nn

from .configuration_atoken import AtokenQuantizerConfig


class AtokenQuantizer(nn.Module):
    """
    Rounds every channel to one of L levels; the levels of a group of channels make one code.

    There are no parameters. Everything is computed in fp32 whatever the input, because `tanh` followed by rounding in
    half precision moves values to a neighboring level.
    """

    def __init__(self, config: AtokenQuantizerConfig):
        super().__init__()
        self.num_codebooks = config.num_codebooks
        self.codebook_dim = config.codebook_dim
        self.codebook_size = config.codebook_size
        self.levels = config.levels
        # With an even number of levels the grid is shifted by half a step, so that it has no middle value.
        self.half_width = (self.levels - 1) * (1 + 1e-3) / 2
        self.offset = 0.5 if self.levels % 2 == 0 else 0.0
        self.shift = math.atanh(self.offset / self.half_width)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """
        Rounds latents to the nearest codes.

        Args:
            latents: (..., num_codebooks * codebook_dim), any real values.

        Returns:
            The quantized values, same shape, fp32, in steps of 1 / (L // 2) within [-1, 1]. The gradient passes
            straight through the rounding.

        Raises:
            ValueError: if the last dimension is not `num_codebooks * codebook_dim`.
        """
        self._check_channels("latents", latents)
        bounded = torch.tanh(latents.float() + self.shift) * self.half_width - self.offset
        rounded = bounded + (bounded.round() - bounded).detach()
        return rounded / (self.levels // 2)

    def to_codes(self, quantized: torch.Tensor) -> torch.Tensor:
        """Quantized values (..., num_codebooks * codebook_dim) -> codes (..., num_codebooks) int64."""
        self._check_channels("quantized", quantized)
        half = self.levels // 2
        digits = (quantized.float() * half + half).round().long()
        digits = digits.unflatten(-1, (self.num_codebooks, self.codebook_dim))
        return (digits * self._place_values(digits.device)).sum(-1)

    def from_codes(self, codes: torch.Tensor, check_values: bool = True) -> torch.Tensor:
        """
        Turns codes (..., num_codebooks), integers, into quantized values (..., num_codebooks * codebook_dim) in fp32.

        Args:
            codes: in [0, codebook_size).
            check_values: False spares the look at them, for which the host waits for the device.

        Raises:
            ValueError: if the last dimension is not `num_codebooks`, or a code is out of range.
        """
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise ValueError(f"codes must be integers, got {codes.dtype}")
        if codes.ndim == 0 or codes.shape[-1] != self.num_codebooks:
            raise ValueError(f"codes must have shape (..., {self.num_codebooks}), got {tuple(codes.shape)}")
        codes = codes.long()
        if check_values and codes.numel() and not torch.compiler.is_compiling():
            low, high = torch.stack(codes.aminmax()).tolist()
            if low < 0 or high >= self.codebook_size:
                raise ValueError(f"codes must be in [0, {self.codebook_size}), got values from {low} to {high}")
        half = self.levels // 2
        digits = torch.div(codes[..., None], self._place_values(codes.device), rounding_mode="floor") % self.levels
        return ((digits - half) / half).flatten(-2).float()

    def _check_channels(self, name: str, values: torch.Tensor) -> None:
        channels = self.num_codebooks * self.codebook_dim
        if values.ndim == 0 or values.shape[-1] != channels:
            raise ValueError(f"{name} must have shape (..., {channels}), got {tuple(values.shape)}")

    def _place_values(self, device: torch.device) -> torch.Tensor:
        # The first channel is the least significant digit.
        return self.levels ** torch.arange(self.codebook_dim, device=device)
