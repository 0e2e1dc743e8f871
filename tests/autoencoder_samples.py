"""Tiny random autoencoders of diffusers."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL

SIZES = {
    "block_out_channels": (8, 8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}


def save_autoencoder(folder: Path, seed: int = 0) -> Path:
    """Writes an AutoencoderKL that makes 4 channels of 4 x 4 pixels."""
    torch.manual_seed(seed)
    AutoencoderKL(**SIZES).save_pretrained(folder)
    return folder
