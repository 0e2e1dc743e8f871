"""Muon (Jordan et al., 2024): momentum whose direction is made orthogonal, for the matrices of hidden layers.

The same as `torch.optim.Muon` with `match_rms_adamw`, but in float32 on CPUs: torch always computes in bfloat16, which
most of them emulate, tens of times slower. Whole copies in several processes share the work.
"""

from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration
ITERATIONS = 5
RMS = 0.2  # of an update, about that of AdamW


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Gives U V^T of an (m, n) matrix's singular value decomposition, roughly: singular values become 0.7 to 1.2."""
    result = matrix.to(torch.float32 if matrix.device.type == "cpu" else torch.bfloat16)
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = result.T if is_tall else result
    result = result / result.norm().clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), result, beta=first)
    return (result.T if is_tall else result).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """
    Moves matrices along the orthogonalized momentum of their gradients.

    Args:
        params: matrices, alone or in groups.
        lr: five times the root mean square of an update.
        momentum: of Nesterov's kind.

    Raises:
        ValueError: a parameter is not a matrix.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"params must be matrices, got one of shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """
        Does one update; `closure` is not called.

        Where `found_inf`, a scalar on the device that GradScaler knows as well, is 1, nothing changes.
        """
        skipped = getattr(self, "found_inf", None)
        moved, directions = [], []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                buffer = state["momentum_buffer"]
                gradient = parameter.grad
                if skipped is not None:
                    # Lerping towards itself leaves the momentum as it is.
                    gradient = torch.where(skipped.bool(), buffer, gradient)
                buffer.lerp_(gradient, 1 - group["momentum"])
                moved.append((parameter, group["lr"]))
                directions.append(gradient.lerp(buffer, group["momentum"]))
        for (parameter, rate), update in zip(moved, _orthogonalize_all(directions), strict=True):
            update = update if skipped is None else update * (1 - skipped)
            parameter.add_(update, alpha=-rate * RMS * max(parameter.shape) ** 0.5)


def _orthogonalize_all(directions: list[torch.Tensor]) -> list[torch.Tensor]:
    alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
    if not directions or alone or isinstance(directions[0], DTensor):
        return [orthogonalized(direction) for direction in directions]
    rank, count = dist.get_rank(), dist.get_world_size()
    own = [
        orthogonalized(direction) if index % count == rank else torch.zeros_like(direction)
        for index, direction in enumerate(directions)
    ]
    flat = torch.cat([direction.flatten() for direction in own])
    dist.all_reduce(flat)
    sizes = [direction.numel() for direction in own]
    return [part.view_as(direction) for part, direction in zip(flat.split(sizes), own, strict=True)]
