"""Tiny random autoencoders of diffusers."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan

SIZES = {
    "block_out_channels": (8, 8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
# Of an AutoencoderKLCosmos that makes 4 channels of 8 x 8 pixels, and a latent frame of 8 after the first.
COSMOS = {
    "latent_channels": 4,
    "encoder_block_out_channels": (8, 8, 8, 8),
    "decode_block_out_channels": (8, 8, 8, 8),
    "attention_resolutions": (8,),
    "resolution": 64,
    "num_layers": 1,
    "patch_size": 4,
    "spatial_compression_ratio": 8,
    "temporal_compression_ratio": 8,
}


def save_autoencoder(folder: Path, seed: int = 0) -> Path:
    """Writes an AutoencoderKL that makes 4 channels of 4 x 4 pixels."""
    torch.manual_seed(seed)
    AutoencoderKL(**SIZES).save_pretrained(folder)
    return folder


def save_video_autoencoder(folder: Path, seed: int = 0) -> Path:
    """Writes an AutoencoderKLWan that makes 4 channels of 4 x 4 pixels, and a latent frame of 4 after the first."""
    torch.manual_seed(seed)
    sizes = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [True, True]}
    ratios = {"scale_factor_temporal": 4, "scale_factor_spatial": 4}
    statistics = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 1.5]}
    AutoencoderKLWan(**sizes, **ratios, **statistics).save_pretrained(folder)
    return folder
