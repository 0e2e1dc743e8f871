"""Checkpoints in which the scale and bias of the logits have no dimension: loaded into a model where they have one."""

import torch
from torch import nn
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter


def give_scalars_a_dimension(module: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, *_) -> None:
    """Fits states to the model in which logit scale and bias have no dimension."""
    for name in ("logit_scale", "logit_bias"):
        if prefix + name in state_dict:
            state_dict[prefix + name] = state_dict[prefix + name].reshape(1)


class _OneDimension(ConversionOps):
    """The same for `from_pretrained`."""

    def convert(self, input_dict, source_patterns, target_patterns, **kwargs):
        (tensor,) = input_dict.values()
        tensor = tensor[0] if isinstance(tensor, list) else tensor
        return {target_patterns[0]: tensor.reshape(1)}

    @property
    def reverse_op(self) -> ConversionOps:
        return _OneDimension()  # files are written with the dimension


register_checkpoint_conversion_mapping(
    "atoken",
    [WeightConverter(f"logit_{name}", f"logit_{name}", [_OneDimension()]) for name in ("scale", "bias")],
    overwrite=True,
)
