"""What pipelines do with `callback_on_step_end`, as those of diffusers do."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


def check_callback_names(pipeline: Any, names: Sequence[str]) -> None:
    """
    Checks the names of tensors that a callback asks for.

    Args:
        pipeline: whose `_callback_tensor_inputs` are those that it has.
        names: `callback_on_step_end_tensor_inputs` of a call.

    Raises:
        ValueError: it has no tensor of such a name.
    """
    known = pipeline._callback_tensor_inputs
    if isinstance(names, str) or not all(name in known for name in names):
        raise ValueError(
            f"callback_on_step_end_tensor_inputs must be a list of names among {', '.join(known)}, got {names!r}"
        )


def run_callback(
    pipeline: Any,
    call_back: Callable | None,
    names: Sequence[str],
    step: int,
    timestep: torch.Tensor,
    latents: torch.Tensor,
) -> torch.Tensor:
    """
    Calls back after a step.

    Args:
        pipeline: that is at work.
        call_back: is given pipeline, step, time and a dict, and may return a dict with other `latents`; None for none.
        names: in the dict; "latents" is the only one there is.
        step, timestep: which one was made.
        latents: what it led to.

    Returns:
        The latents to go on with.
    """
    if call_back is None:
        return latents
    return (call_back(pipeline, step, timestep, dict.fromkeys(names, latents)) or {}).get("latents", latents)
