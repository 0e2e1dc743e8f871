"""VA-VAE's weights (Yao et al., 2025; hustvl/LightningDiT) as an AutoencoderKL of diffusers (Tables 3, 4 and 11).

    python -m atoken.evaluation.models.vavae_conversion vavae-imagenet256-f16d32-dinov2.pt va-vae

The weights have the layout of latent diffusion, with attention in the lowest resolution besides the middle. What
aligned the latents with DINOv2 in training, and the losses, are left out. The adapter `autoencoder-kl` takes what is
written.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from atoken.tokenizing.files import NewFolder

KEPT = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_NAMES = (
    (r"\.mid\.block_(\d)\.", lambda match: f".mid_block.resnets.{int(match[1]) - 1}."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.attn\.", r"encoder.down_blocks.\1.attentions."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)
_UP = re.compile(r"^decoder\.up\.(\d+)\.(block|attn|upsample)\.")
_UP_NAMES = {"block": "resnets.", "attn": "attentions.", "upsample": "upsamplers.0."}


def convert_state_dict(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Renames the weights; the 1 x 1 convolutions of attention become linear layers.

    Args:
        state: of latent diffusion's AutoencoderKL, with anything else beside it.
    """
    kept = {name: value for name, value in state.items() if name.startswith(KEPT)}
    levels = _depth(kept, "decoder.up.")
    converted = {}
    for name, value in kept.items():
        # diffusers counts the decoder's levels from the lowest resolution.
        name = _UP.sub(lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.{_UP_NAMES[m[2]]}", name)
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        is_attention = re.search(r"attentions\.\d+\.to_.*weight$", name)
        converted[name] = value[:, :, 0, 0] if is_attention and value.ndim == 4 else value
    return converted


def config_of(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """
    Reads diffusers' configuration from the shapes of the weights; groups of norms are 32, as in latent diffusion.

    Raises:
        ValueError: these are not weights of such an autoencoder.
    """
    needed = ("encoder.conv_in.weight", "encoder.conv_out.weight", "post_quant_conv.weight", "decoder.conv_out.weight")
    missing = [name for name in needed if name not in state]
    if missing:
        raise ValueError(
            f"weights must be those of latent diffusion's AutoencoderKL, got {len(state)} without {', '.join(missing)}"
        )
    levels = _depth(state, "encoder.down.")
    widths = [state[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)]
    with_attention = [f"encoder.down.{level}.attn.0.q.weight" in state for level in range(levels)]
    kinds = ["AttnDownEncoderBlock2D" if attends else "DownEncoderBlock2D" for attends in with_attention]
    up = [
        "AttnUpDecoderBlock2D" if f"decoder.up.{level}.attn.0.q.weight" in state else "UpDecoderBlock2D"
        for level in reversed(range(levels))
    ]
    return {
        "in_channels": state["encoder.conv_in.weight"].shape[1],
        "out_channels": state["decoder.conv_out.weight"].shape[0],
        "latent_channels": state["post_quant_conv.weight"].shape[1],
        "block_out_channels": widths,
        "down_block_types": kinds,
        "up_block_types": up,
        "layers_per_block": _depth(state, "encoder.down.0.block."),
        "scaling_factor": 1.0,  # LightningDiT normalizes by statistics of its own, which the harness does not need
    }


def _depth(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    return 1 + max((int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix)), default=-1)


def convert(weights: Path, out: Path) -> None:
    """
    Writes the folder of an AutoencoderKL.

    Args:
        weights: a file of torch.save, whose "state_dict" (or whole content) are the weights.
        out: is created; if anything fails there is nothing.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: `out` is there.
        ValueError: these are other weights.
        ImportError: diffusers is missing.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ImportError('the conversion needs diffusers: pip install "atoken[diffusers]"') from error
    if not weights.is_file():
        raise FileNotFoundError(f"weights must be a file that is there, got {weights}")
    if out.exists():
        raise FileExistsError(f"out must be a folder that is not there yet, got {out}")
    content = torch.load(weights, map_location="cpu", weights_only=True)
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    model = AutoencoderKL(**config_of(state))
    try:
        model.load_state_dict(convert_state_dict(state))
    except RuntimeError as error:
        raise ValueError(f"weights must be those of VA-VAE, got {weights}: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    with NewFolder(out) as folder:
        model.save_pretrained(folder)


def main(
    weights: Annotated[Path, typer.Argument(help="The published .pt file.")],
    out: Annotated[Path, typer.Argument(help="Folder for the AutoencoderKL.")],
) -> None:
    """Converts VA-VAE's weights to diffusers' form."""
    try:
        convert(weights, out)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    typer.run(main)
