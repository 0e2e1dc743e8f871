"""What a training begins with: random weights of the structure VAE, and LoRA, which adds to trained ones."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from atoken.generation import SparseStructureAutoencoder

from ..lightning_dit_objective import save_generator
from .stage import ObjectStage

LORA_TARGETS = ["to_qkv", "to_q", "to_kv", "to_out"]  # all of attention, as peft finds them by the ends of names


def start_structure_vae(model: SparseStructureAutoencoder, stage: ObjectStage) -> None:
    """Sets the random weights that a stage wants otherwise; see `ObjectStage`."""
    if stage.start_variance:
        for module in model.modules():
            if isinstance(module, nn.Conv3d):
                if module.weight.any():  # those that end a block stay zero
                    nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(module.bias)
    if stage.start_logvar is not None:
        # The second half of the encoder's channels.
        nn.init.constant_(model.encoder.conv_out.bias.detach().chunk(2)[1], stage.start_logvar)
    if stage.start_logit is not None:
        nn.init.constant_(model.decoder.conv_out.bias, stage.start_logit)


def add_lora(model: Any, options: dict[str, Any]) -> None:
    """
    Lets only matrices be trained that are added to those of attention.

    Args:
        model: a flow.
        options: arguments of peft's `LoraConfig`; `lora_alpha` is by default r, so that the sum counts whole.
    """
    from peft import LoraConfig

    model.requires_grad_(False)
    model.add_adapter(LoraConfig(**{"lora_alpha": options["r"], "target_modules": LORA_TARGETS, **options}))


def save_trained(model: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """
    Writes a model with weights from the state dict of its objective, or what LoRA adds to it alone.

    The latter is a file that `load_lora_adapter(folder, prefix=None, weight_name="pytorch_lora_weights.safetensors")`
    of the model reads.
    """
    if not getattr(model, "peft_config", None):
        save_generator(model, state, folder)
        return
    (config,) = model.peft_config.values()
    copy = type(model).from_config(model.config)
    copy.add_adapter(config)
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    copy.load_state_dict(weights)
    copy.save_lora_adapter(folder)
