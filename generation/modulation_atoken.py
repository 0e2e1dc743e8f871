"""Adaptive layer norm: shifts, scales and gates that a condition gives (DiT, Peebles and Xie, 2023)."""

import torch
from torch import nn


class Modulation(nn.Module):
    """Makes `parts` vectors of a condition: one linear layer of its SiLU, which training starts at zero."""

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(..., d) -> `parts` times (..., d)."""
        return self.linear(nn.functional.silu(condition)).chunk(self.parts, dim=-1)


def modulate(hidden: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Gives hidden * (1 + scale) + shift, each (..., d) or broadcast to it."""
    return torch.addcmul(shift, hidden, 1 + scale)


class RMSNorm(nn.Module):
    """Divides by the root mean square of the last dimension, computed in fp32 and cast back before the weight."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(
        self, hidden: torch.Tensor, shift: torch.Tensor | None = None, scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(..., d) -> (..., d); with shift and scale, which are broadcast to it, modulated as by `modulate`."""
        normed = self._normed(hidden)
        if shift is None or scale is None:
            return normed * self.weight
        if hidden.dtype == self.weight.dtype == torch.float32:
            # Both factors at once, which spares a pass over the values.
            return torch.addcmul(shift, normed, self.weight * (1 + scale))
        return modulate(normed * self.weight, shift, scale)

    def _normed(self, hidden: torch.Tensor) -> torch.Tensor:
        if hidden.dtype != torch.float32:
            return nn.functional.rms_norm(hidden.float(), hidden.shape[-1:], eps=self.eps).to(hidden.dtype)
        # On a CPU `rms_norm` goes over the values five times, this twice.
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        return hidden * (length.square() / hidden.shape[-1] + self.eps).rsqrt()
