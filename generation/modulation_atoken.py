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

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., d)."""
        if hidden.dtype == self.weight.dtype == torch.float32:
            return nn.functional.rms_norm(hidden, self.weight.shape, self.weight, self.eps)
        normed = nn.functional.rms_norm(hidden.float(), self.weight.shape, eps=self.eps)
        return normed.to(hidden.dtype) * self.weight
