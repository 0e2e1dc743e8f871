"""What TokenBridge accepts: configurations, training batches, settings of sampling. Each fault names its argument."""

import math
from typing import Any

import torch


def check_config(config: Any) -> None:
    """
    Checks the arguments of a model.

    Raises:
        ValueError: naming the one that does not fit.
    """
    for name, value in config.items():
        least = 0 if name == "buffer_size" else 1
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    for part in ("encoder", "decoder", "head"):
        width, heads = config[f"{part}_hidden_size"], config[f"{part}_num_attention_heads"]
        if width % heads:
            raise ValueError(f"{part}_hidden_size must be a multiple of {heads} heads, got {width}")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout must be from 0 to below 1, got {config.dropout}")
    if config.code_levels is None and config.code_channels != 1:
        raise ValueError(f"code_levels must be given where code_channels is not 1, got {config.code_channels}")
    if config.code_levels is not None and config.code_levels**config.code_channels != config.codebook_size:
        raise ValueError(
            f"codebook_size must be code_levels ** code_channels = {config.code_levels**config.code_channels}, got "
            f"{config.codebook_size}"
        )
    if config.code_order is not None and sorted(config.code_order) != list(range(config.num_codes)):
        raise ValueError(f"code_order must have each of 0 to {config.num_codes - 1} once, got {config.code_order}")


def check_training(
    codes: torch.Tensor, class_labels: torch.Tensor, mask: torch.Tensor, positions: int, num_codes: int
) -> None:
    """
    Checks shapes and dtypes of a training batch.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if codes.ndim != 3 or tuple(codes.shape[1:]) != (positions, num_codes) or codes.dtype != torch.int64:
        raise ValueError(f"codes must be (B, {positions}, {num_codes}) int64, got {tuple(codes.shape)} {codes.dtype}")
    if class_labels.shape != codes.shape[:1] or class_labels.dtype != torch.int64:
        raise ValueError(
            f"class_labels must be ({codes.shape[0]},) int64, got {tuple(class_labels.shape)} {class_labels.dtype}"
        )
    if mask.shape != codes.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f"mask must be {tuple(codes.shape[:2])} bool, got {tuple(mask.shape)} {mask.dtype}")


def check_sampling(
    class_labels: torch.Tensor,
    order: torch.Tensor | None,
    *,
    num_classes: int,
    positions: int,
    num_inference_steps: int,
    guidance_scale: float,
    guidance_schedule: str,
    temperature: float,
    first_element: str,
) -> None:
    """
    Checks what images are generated of, before the work.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if class_labels.ndim != 1 or class_labels.dtype != torch.int64 or not len(class_labels):
        raise ValueError(f"class_labels must be (B,) int64, got {tuple(class_labels.shape)} {class_labels.dtype}")
    low, high = torch.stack(class_labels.aminmax()).tolist()
    if low < 0 or high > num_classes:
        raise ValueError(
            f"class_labels must be from 0 to {num_classes}, where {num_classes} is no class, got {low} to {high}"
        )
    if not 1 <= num_inference_steps <= positions:
        raise ValueError(f"num_inference_steps must be from 1 to {positions} positions, got {num_inference_steps}")
    if not 0 <= guidance_scale < math.inf:
        raise ValueError(f"guidance_scale must be at least 0, got {guidance_scale}")
    if guidance_schedule not in ("linear", "constant"):
        raise ValueError(f'guidance_schedule must be "linear" or "constant", got {guidance_schedule!r}')
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    if first_element not in ("training", "official"):
        raise ValueError(f'first_element must be "training" or "official", got {first_element!r}')
    if order is None:
        return
    if tuple(order.shape) != (len(class_labels), positions) or order.dtype != torch.int64:
        raise ValueError(
            f"order must be ({len(class_labels)}, {positions}) int64, got {tuple(order.shape)} {order.dtype}"
        )
    every = torch.arange(positions, device=order.device).expand_as(order)
    if not torch.equal(order.sort(dim=1).values, every):
        raise ValueError(f"order must have each of the {positions} positions once in every row")
