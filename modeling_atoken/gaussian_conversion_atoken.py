"""Official `3d_decode_gs` files to [`AtokenGaussianDecoder`], and back."""

import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError

from .configuration_atoken import AtokenGaussianConfig
from .conversion_atoken import read_original_state_dict
from .gaussian_decoder_atoken import AtokenGaussianDecoder
from .modeling_atoken import AtokenModel

# Our names on the left, the released ones on the right.
_RENAMES = [
    (r"\.attn\.qkv\.", ".attn.to_qkv."),
    (r"\.attn\.out_proj\.", ".attn.to_out."),
    (r"\.mlp\.fc1\.", ".mlp.mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.mlp.2."),
]
_OUTPUTS_PER_GAUSSIAN = 14


def _released_names(model: AtokenGaussianDecoder) -> dict[str, str]:
    names = {}
    for name in model.state_dict():
        names[name] = name
        for pattern, replacement in _RENAMES:
            names[name] = re.sub(pattern, replacement, names[name])
    return names


def convert_original_gaussian_decoder(path: str | Path, *, num_heads: int | None = None) -> AtokenGaussianDecoder:
    """
    Converts a released Gaussian decoder file to an [`AtokenGaussianDecoder`].

    Args:
        path: the `.pt` file (or a `.safetensors` file with the same names); its `lpips_loss.*` is dropped.
        num_heads: which tensors do not show. Default: 12 at the released width of 768.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no Gaussian decoder, or a key is left over or missing (each is named).
    """
    state = {k: v for k, v in read_original_state_dict(path).items() if not k.startswith("lpips_loss.")}
    needed = ("input_layer.weight", "out_layer.weight", "offset_perturbation", "blocks.0.mlp.mlp.0.weight")
    missing = [name for name in needed if name not in state or state[name].ndim != 2]
    if missing:
        raise ValueError(f"path: {path} is not a Gaussian decoder, it lacks the matrices {', '.join(missing)}")
    width, in_channels = state["input_layer.weight"].shape
    if num_heads is None:
        if width != 768:
            raise ValueError(f"num_heads must be given: tensors do not show it, and a width of {width} is not released")
        num_heads = 12
    if num_heads < 1 or width % num_heads:
        raise ValueError(f"num_heads must divide the width, {width}, got {num_heads}")
    blocks = {int(match.group(1)) for match in (re.match(r"blocks\.(\d+)\.", name) for name in state) if match}
    try:
        config = AtokenGaussianConfig(
            hidden_size=width,
            intermediate_size=state["blocks.0.mlp.mlp.0.weight"].shape[0],
            num_hidden_layers=max(blocks) + 1,
            num_attention_heads=num_heads,
            in_channels=in_channels,
            num_gaussians=state["out_layer.weight"].shape[0] // _OUTPUTS_PER_GAUSSIAN,
        )
    except StrictDataclassError as error:
        raise ValueError(f"path and num_heads do not fit together: {error}") from error
    model = AtokenGaussianDecoder(config)
    ours, names = model.state_dict(), _released_names(model)
    unexpected, missing = sorted(state.keys() - set(names.values())), sorted(set(names.values()) - state.keys())
    if unexpected or missing:
        raise ValueError(
            f"path: {path} has keys without a place: {unexpected or 'none'}; and lacks keys: {missing or 'none'}"
        )
    for name, released in names.items():
        given, expected = tuple(state[released].shape), tuple(ours[name].shape)
        if given != expected:
            raise ValueError(f"path: {released} of {path} must have shape {expected}, got {given}")
    model.load_state_dict({name: state[released] for name, released in names.items()})
    return model.eval()


def attach_gaussian_decoder(model: AtokenModel, gaussian_decoder: AtokenGaussianDecoder) -> AtokenModel:
    """Gives `model`, in place, a Gaussian decoder; saving then stores both. Raises ValueError if it reads too much."""
    if gaussian_decoder.config.in_channels > model.config.decoder_config.patch_dim:
        raise ValueError(
            f"gaussian_decoder must read at most the decoder's {model.config.decoder_config.patch_dim} features, got "
            f"{gaussian_decoder.config.in_channels}"
        )
    model.config.gaussian_config = gaussian_decoder.config
    model.gaussian_decoder = gaussian_decoder
    return model


def to_original_gaussian_state_dict(model: AtokenGaussianDecoder) -> dict[str, torch.Tensor]:
    """Names the decoder's tensors as the released files do (the reverse of the conversion)."""
    state = model.state_dict()
    return {released: state[name] for name, released in _released_names(model).items()}
