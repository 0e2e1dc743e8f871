"""What generators of 3D objects see of a picture: tokens of DINOv2, or of the tokenizer's own encoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

# ImageNet's, which DINOv2 was trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def condition_width(image_encoder: Any, vae: Any) -> int:
    """Gives the channels of a condition."""
    config = vae.config.vision_config if image_encoder is None else image_encoder.config
    return config.hidden_size


def picture_size(image_encoder: Any, own_size: int) -> int:
    """Gives the side of the pictures in pixels: the size that DINOv2 was trained at, or `own_size` without it."""
    return own_size if image_encoder is None else image_encoder.config.image_size


def picture_condition(pictures: torch.Tensor, image_encoder: Any, vae: Any) -> torch.Tensor:
    """
    Encodes pictures.

    Args:
        pictures: (B, 3, H, W) fp32 in [0, 1], as `object_picture` or `training_picture` places the object.
        image_encoder: a `Dinov2WithRegistersModel` of transformers, or None for the tokenizer's own encoder.
        vae: the AtokenModel.

    Returns:
        (B, M, c) fp32: all tokens, before DINOv2's last norm, brought to mean 0 and deviation 1 by channel.
    """
    if image_encoder is None:
        tower = vae.vision_model
        tokens = tower((2 * pictures - 1).to(tower.dtype), pool=False).last_hidden_state
    else:
        mean, std = (pictures.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        normalized = ((pictures - mean) / std).to(image_encoder.dtype)
        tokens = image_encoder(normalized, output_hidden_states=True).hidden_states[-1]
    return nn.functional.layer_norm(tokens.float(), tokens.shape[-1:])


def grouped(images: Any, masks: Any) -> list[list[tuple[Any, Any]]]:
    """
    Gives the pictures of each object with their masks.

    Args:
        images: one picture, a list of pictures of one object each, or a list of lists of pictures of one object.
        masks: in the same lists, or None.

    Raises:
        ValueError: there is no picture, or objects have different numbers of pictures, or masks lie otherwise.
    """
    objects = [_several(each) for each in _several(images)]
    given = [_several(each) for each in _several(masks)] if masks is not None else [[None] * len(o) for o in objects]
    if not objects or not all(objects):
        raise ValueError("images must be at least one picture of each object, got none")
    if len({len(each) for each in objects}) > 1:
        raise ValueError(f"images must be as many of each object, got {[len(each) for each in objects]}")
    if [len(each) for each in given] != [len(each) for each in objects]:
        raise ValueError(
            f"masks must be one for each of images, {[len(each) for each in objects]} of the objects, got "
            f"{[len(each) for each in given]}"
        )
    return [list(zip(pictures, own, strict=True)) for pictures, own in zip(objects, given, strict=True)]


def _several(value: Any) -> list:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
