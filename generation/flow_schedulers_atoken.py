"""Schedulers of diffusers on the authors' grid: which of them lead from noise to data, and at which times they are."""

import inspect
from typing import Any

import numpy as np
import torch

# Settings that may make a scheduler lead elsewhere, for errors.
_DECISIVE = (
    "prediction_type",
    "algorithm_type",
    "final_sigmas_type",
    "stochastic_sampling",
    "invert_sigmas",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
)
# Of the trial. Some schedulers round times to a thousandth, and some leave a hundredth of the noise at the end.
_STEPS, _TOLERANCE = 4, 0.02


def check_scheduler(scheduler: Any, takes_sigmas: bool) -> None:
    """
    Checks that a scheduler goes from noise to data, and that what it has at each of its times is as noisy as that says.

    It is tried out: by a constant velocity, whatever the order and the grid, this is a straight line.

    Args:
        scheduler: of diffusers.
        takes_sigmas: whether it has to take a grid of times.

    Raises:
        ValueError: it takes no grid, is not for flow matching, shifts by itself, draws noise, or leads elsewhere.
    """
    name = type(scheduler).__name__
    if takes_sigmas and not _takes_sigmas(scheduler):
        raise ValueError(f"scheduler must take sigmas, as FlowMatchEulerDiscreteScheduler does, got {name}")
    _shift_name(scheduler)
    if scheduler.config.get("use_dynamic_shifting"):
        raise ValueError(
            "scheduler must have use_dynamic_shifting=False, as the pipeline gives the shift, got True; take "
            f"{name}.from_config(scheduler.config, use_dynamic_shifting=False)"
        )
    try:
        leads_to_data = _leads_to_data(scheduler)
    except Exception as error:
        # What schedulers raise for settings that do not fit each other is of many types.
        raise ValueError(f"scheduler must go from noise to data step by step, got {name}: {error}") from error
    if not leads_to_data:
        settings = ", ".join(f"{each}={scheduler.config[each]!r}" for each in _DECISIVE if each in scheduler.config)
        raise ValueError(
            "scheduler must go from noise to data along its own times and draw no noise, as "
            f"FlowMatchEulerDiscreteScheduler() does, got {name}({settings}); take another one, or other settings"
        )


def scheduled(scheduler: Any, steps: int, shift: float, device: torch.device) -> tuple[Any, torch.Tensor]:
    """
    Makes a scheduler of the same kind with the authors' grid, where it takes one, and with a shift.

    Args:
        scheduler: that `check_scheduler` takes.
        steps: S; the grid is even, u = 1 - i / S, before the shift.
        shift: r of u -> r u / (1 + (r - 1) u), where 1 is noise.
        device: of the scheduler's own times.

    Returns:
        The scheduler, and the time of each of its steps in [0, 1], fp32 on the CPU, where 1 is noise.

    Raises:
        ValueError: the scheduler is not for flow matching.
    """
    made = type(scheduler).from_config(scheduler.config, **{_shift_name(scheduler): shift})
    if _takes_sigmas(made):
        made.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1], device=device)
    else:
        made.set_timesteps(steps, device=device)
    return made, (made.timesteps / made.config.num_train_timesteps).cpu()


def _takes_sigmas(scheduler: Any) -> bool:
    return "sigmas" in inspect.signature(scheduler.set_timesteps).parameters


def _shift_name(scheduler: Any) -> str:
    """
    Gives the name by which a scheduler takes the shift of its grid.

    Raises:
        ValueError: it is not for flow matching, and would make something else of velocities.
    """
    if "shift" in inspect.signature(type(scheduler).__init__).parameters:
        return "shift"
    if scheduler.config.get("use_flow_sigmas"):
        return "flow_shift"
    raise ValueError(
        "scheduler must be for flow matching, such as FlowMatchEulerDiscreteScheduler(), got "
        f'{type(scheduler).__name__}; others need use_flow_sigmas=True and prediction_type="flow_prediction"'
    )


def _leads_to_data(scheduler: Any) -> bool:
    """Tells whether data 0 come out of noise 1 by the velocity 1, and data of t at each time t."""
    tried, times = scheduled(scheduler, _STEPS, 1.0, torch.device("cpu"))
    velocity = torch.ones(2, 3, device="cpu")
    states = [velocity]
    for timestep in tried.timesteps:
        states.append(tried.step(velocity, timestep, states[-1], return_dict=False)[0])
    expected = torch.cat([times, times.new_zeros(1)])
    return bool(((torch.stack(states) - expected[:, None, None]).abs() <= _TOLERANCE).all())
