"""Optimizers and learning rates (paper, section 4.1), and averages of weights that also work on shards."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from .muon import Muon

# Layers next to pixels and latents.
_EDGES = ("input_layer", "latent_proj", "out_layer")


@dataclass(frozen=True)
class OptimizerSettings:
    """
    Says how weights are updated.

    Attributes:
        kind: "adamw", or "muon", which updates the blocks' matrices, but those of norms, by Muon at `rate` and the rest
            by AdamW.
        rate, final_rate: peak and end of the cosine.
        adamw_rate: peak for what Muon leaves to AdamW.
        warm_up: steps of linear warm-up.
        betas, weight_decay: of AdamW. Norms, biases, gammas, probes and position tables do not decay.
        encoder_factor: of the encoder's rate.
        edge_factor: of the rate of norms and of the layers next to pixels and latents.
        average: decay of the averaged weights.
        average_ramp: whether that decay is lower in the first steps; else averages only begin as a copy.
        clip: largest norm of the gradient.
        clip_percentile: of the norms of the last 1,000 steps, above which gradients are cut too; see `GradientClip`.
    """

    kind: str = "adamw"
    rate: float = 3e-4
    final_rate: float = 3e-5
    adamw_rate: float = 4e-4
    warm_up: int = 2000
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    encoder_factor: float = 0.1
    edge_factor: float = 1.0
    average: float = 0.9999
    average_ramp: bool = True
    clip: float = 1.0
    clip_percentile: float | None = None

    def __post_init__(self):
        if self.kind not in ("adamw", "muon"):
            raise ValueError(f'kind must be "adamw" or "muon", got {self.kind!r}')
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0, got {self.rate}")
        if not 0 <= self.final_rate <= self.rate:
            raise ValueError(f"final_rate must be from 0 to rate, {self.rate}, got {self.final_rate}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be from 0 to below 1, got {self.average}")
        if self.warm_up < 0:
            raise ValueError(f"warm_up must be at least 0, got {self.warm_up}")
        if self.clip <= 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")
        if self.clip_percentile is not None and not 0 < self.clip_percentile <= 100:
            raise ValueError(f"clip_percentile must be above 0 and at most 100, got {self.clip_percentile}")

    def factor(self, step: int, steps: int, share: float | None = None) -> float:
        """
        Gives the share of the peak rate at a step, counted from 0, of `steps`: linear warm-up, then a cosine.

        Args:
            share: of the time that has passed, 0 to 1, by which the cosine falls instead of by steps.
        """
        done = (step - self.warm_up) / max(1, steps - self.warm_up) if share is None else share
        last = self.final_rate / self.rate
        cosine = last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
        return cosine * min(1.0, (step + 1) / self.warm_up if self.warm_up else 1.0)


class Together(torch.optim.Optimizer):
    """Puts two optimizers behind the interface of one, as trainers expect one."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        # The same dicts, so that a rate that is set here reaches them.
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def step(self, closure: Any = None) -> None:
        """Does one update by both; `closure` is not called."""
        skip_if(self.optimizers, getattr(self, "found_inf", None))
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Gives the states of both."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a `state_dict()`."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Makes the optimizer of all parameters that require a gradient; every group keeps its peak rate as "peak"."""
    adamw: dict[tuple[float, float], list[nn.Parameter]] = {}
    muon: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_norm = "norm" in name
        factor = settings.encoder_factor if "vision_model." in name else 1.0
        if settings.kind == "muon" and parameter.ndim == 2 and "blocks." in name and not is_norm:
            muon.setdefault(factor * settings.rate, []).append(parameter)
            continue
        if is_norm or any(part in name for part in _EDGES):
            factor *= settings.edge_factor
        peak = settings.adamw_rate if settings.kind == "muon" else settings.rate
        still = is_norm or parameter.ndim < 2 or "position_embedding" in name
        adamw.setdefault((factor * peak, 0.0 if still else settings.weight_decay), []).append(parameter)
    groups = [
        {"params": params, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), params in adamw.items()
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if muon:
        matrices = [{"params": params, "lr": rate, "peak": rate} for rate, params in muon.items()]
        optimizers.append(Muon(matrices, momentum=0.95))
    # Fused, as only this kind skips a step by a flag on the device.
    optimizers.append(torch.optim.AdamW(groups, betas=settings.betas, fused=True))
    return optimizers[0] if len(optimizers) == 1 else Together(optimizers)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]


def parts_of(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """Gives the optimizers that one is made of, also behind a wrapper of accelerate."""
    optimizer = getattr(optimizer, "optimizer", optimizer)
    return optimizer.optimizers if isinstance(optimizer, Together) else [optimizer]


def skip_if(optimizers: list[torch.optim.Optimizer], found_inf: torch.Tensor | None) -> None:
    """
    Lets the next steps of optimizers change nothing where a flag is set.

    Args:
        found_inf: float32 scalar on the device, 1 to skip and 0 not to, which the host need not read; None never skips.
    """
    for optimizer in optimizers:
        optimizer.found_inf = found_inf


class AveragedWeights:
    """
    Keeps exponential averages, in float32, of the part of each trainable parameter that this process holds.

    With FSDP2 and ZeRO-3 that part is a shard, so nothing is gathered until weights are exported.
    """

    def __init__(self, model: nn.Module, decay: float, ramp: bool = True):
        self.decay, self.ramp = decay, ramp
        self.values = {name: _held(p).detach().float().clone() for name, p in _trainable(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the averages towards the model's weights after a step, counted from 1; on a ramp faster at first."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.ramp else self.decay
        trained = _trainable(model)
        held = [_held(parameter).detach().float() for _, parameter in trained]
        torch._foreach_lerp_([self.values[name] for name, _ in trained], held, 1 - decay)

    def shards(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Gives the averages as parts of whole tensors, sharded as the model's parameters are; they share memory."""
        found = {}
        for name, parameter in _trainable(model):
            value = self.values[name]
            if isinstance(parameter, DTensor):
                value = DTensor.from_local(
                    value,
                    parameter.device_mesh,
                    parameter.placements,
                    run_check=False,
                    shape=parameter.shape,
                    stride=parameter.stride(),
                )
            found[name] = value
        return found

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchanges the model's weights and the averages; called again, it undoes that exactly."""
        for name, parameter in _trainable(model):
            held = _held(parameter).detach()
            before = held.float().clone()
            held.copy_(self.values[name])
            self.values[name] = before


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _held(parameter: nn.Parameter) -> torch.Tensor:
    """Gives what this process holds of a parameter: all of it, a shard of FSDP2, or one of ZeRO-3."""
    if hasattr(parameter, "ds_tensor"):
        return parameter.ds_tensor
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
