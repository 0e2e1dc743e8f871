"""The autoencoder that AToken is compared with: AutoencoderKLWan of diffusers, in the size of Wan 2.2.

It has the same compression (4 x 16 x 16) and the same number of latent channels (48). The weights are random, which
does not change its speed.
"""

import torch
from diffusers import AutoencoderKLWan
from diffusers.utils import logging

# vae/config.json of Wan-AI/Wan2.2-TI2V-5B-Diffusers, without the latents' statistics, which the model does not use.
WAN_22 = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "dropout": 0.0,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 16,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}


def build_wan(device: torch.device, dtype: torch.dtype) -> AutoencoderKLWan:
    """The autoencoder with random weights."""
    # Casting warns of modules to be kept in fp32 even where, as here, there are none.
    logging.set_verbosity_error()
    with torch.device(device):
        return AutoencoderKLWan(**WAN_22).to(dtype).eval()


def wan_frames(num_frames: int) -> int:
    """How many of a clip's frames it codes: it takes 4 k + 1, and leaves out what goes beyond. An image is one."""
    return 4 * ((num_frames - 1) // 4) + 1
