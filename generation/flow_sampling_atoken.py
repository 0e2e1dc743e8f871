"""How image to 3D goes from noise to data: Euler steps with guidance in an interval of times (TRELLIS)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from .flow_schedulers_atoken import scheduled

SIGMA_MIN = 1e-5  # noise that is left at time 0


@dataclass(frozen=True)
class FlowSampling:
    """
    Holds the settings of one stage.

    Args:
        num_inference_steps: S Euler steps.
        guidance_scale: g of v = v_null + g (v_condition - v_null); 1 is off. TRELLIS's strength w is g - 1.
        guidance_interval: lowest and highest time, both included, at which guidance is on; 1 is noise.
        shift: r of the times r u / (1 + (r - 1) u), u = 1 - i / S; 1 for even steps.
        guidance_rescale: from 0 to 1, how far guided data is brought back to the standard deviation of unguided data.

    Raises:
        ValueError: naming the setting that does not fit.
    """

    num_inference_steps: int = 25
    guidance_scale: float = 6.0
    guidance_interval: tuple[float, float] = (0.5, 1.0)
    shift: float = 3.0
    guidance_rescale: float = 0.0

    def __post_init__(self):
        steps = self.num_inference_steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {steps}")
        if not 0 <= self.guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be at least 0, got {self.guidance_scale}")
        interval = self.guidance_interval
        if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(f"guidance_interval must be two rising times in [0, 1], got {list(interval)}")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"shift must be above 0, and 1 for even steps, got {self.shift}")
        if not 0 <= self.guidance_rescale <= 1:
            raise ValueError(f"guidance_rescale must be from 0 to 1, got {self.guidance_rescale}")

    @classmethod
    def of(cls, name: str, *settings: Mapping[str, Any] | None) -> "FlowSampling":
        """
        Makes one of dictionaries, the later of which count first.

        Args:
            name: of the argument that they are, for errors.
            settings: by the names of this class.

        Raises:
            ValueError: a name or a value does not fit.
        """
        merged = {key: value for each in settings for key, value in (each or {}).items()}
        names = [field.name for field in fields(cls)]
        unknown = sorted(merged.keys() - set(names))
        if unknown:
            raise ValueError(f"{name} must have the settings {', '.join(names)}, got {', '.join(unknown)}")
        try:
            return cls(**merged)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error

    @property
    def times(self) -> list[float]:
        """Gives the time of each step, from 1, noise, down; in float64, as the interval's ends are compared."""
        even = 1 - np.arange(self.num_inference_steps) / self.num_inference_steps
        return (self.shift * even / (1 + (self.shift - 1) * even)).tolist()

    def is_guided(self, time: float) -> bool:
        """Tells whether the model has to run without condition too at a time in [0, 1]."""
        low, high = self.guidance_interval
        return self.guidance_scale != 1 and low <= time <= high


def sample_flow(
    scheduler: Any,
    sampling: FlowSampling,
    noise: torch.Tensor,
    velocity: Callable[[torch.Tensor, float, int | None], torch.Tensor],
    deviation: Callable[[torch.Tensor], torch.Tensor],
    after_step: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """
    Goes from noise to data.

    Args:
        scheduler: that `check_scheduler` takes, with a grid of times; its own shift is replaced.
        sampling: the settings.
        noise: normal fp32 of any shape.
        velocity: gives fp32 velocities of noisy data at a time in [0, 1], which is one of the scheduler's, with the
            condition of that step, or without one for None.
        deviation: gives the standard deviation of each sample in a shape that multiplies the data.
        after_step: is given step, time in [0, 1000] and data after each step, and returns data to go on with.

    Returns:
        The data, of the noise's shape.
    """
    scheduler, own = scheduled(scheduler, sampling.num_inference_steps, sampling.shift, noise.device)
    # Schedulers round the authors' times to fp32, which may put one outside of an interval that ends at it.
    times = sampling.times if np.allclose(own, sampling.times, rtol=0, atol=1e-6) else own.tolist()
    data = noise
    for step, (time, timestep) in enumerate(zip(times, scheduler.timesteps, strict=True)):
        found = velocity(data, time, step)
        if sampling.is_guided(time):
            null = velocity(data, time, None)
            guided = null + sampling.guidance_scale * (found - null)
            if sampling.guidance_rescale:
                guided = _rescaled(guided, found, data, time, sampling.guidance_rescale, deviation)
            found = guided
        data = scheduler.step(found, timestep, data, return_dict=False)[0]
        data = after_step(step, timestep, data)
    return data


def clean_data(noisy: torch.Tensor, velocity: torch.Tensor, time: float) -> torch.Tensor:
    """Gives the data that a velocity points to at a time in [0, 1]."""
    return (1 - SIGMA_MIN) * noisy - (SIGMA_MIN + (1 - SIGMA_MIN) * time) * velocity


def _rescaled(
    guided: torch.Tensor,
    unguided: torch.Tensor,
    noisy: torch.Tensor,
    time: float,
    share: float,
    deviation: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Gives the guided velocity whose data has, as far as `share` says, the deviation of the unguided one's."""
    data = clean_data(noisy, guided, time)
    ratio = deviation(clean_data(noisy, unguided, time)) / deviation(data)
    data = data * (share * ratio + 1 - share)
    return ((1 - SIGMA_MIN) * noisy - data) / (SIGMA_MIN + (1 - SIGMA_MIN) * time)
