"""What the generator of images and videos has to know of its autoencoder, AToken's or another of diffusers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

# Frames and pixels of a side that become one latent, as the configurations of diffusers' autoencoders say it.
_RATIOS: dict[str, Callable[[Any], tuple[int, int]]] = {
    "AutoencoderKL": lambda config: (1, 2 ** (len(config.block_out_channels) - 1)),
    "AutoencoderDC": lambda config: (1, 2 ** (len(config.encoder_block_out_channels) - 1)),
    "AutoencoderKLWan": lambda config: (config.scale_factor_temporal, config.scale_factor_spatial),
    "AutoencoderKLHunyuanVideo": lambda config: (config.temporal_compression_ratio, config.spatial_compression_ratio),
    "AutoencoderKLCosmos": lambda config: (config.temporal_compression_ratio, config.spatial_compression_ratio),
    "AutoencoderKLQwenImage": lambda config: (
        2 ** sum(config.temperal_downsample),
        2 ** len(config.temperal_downsample),
    ),
}
_ATOKEN = "AutoencoderAtoken"


@dataclass(frozen=True)
class MediaAutoencoder:
    """
    Says what shapes the latents of an autoencoder have.

    Attributes:
        channels: of its latents.
        frames: r, frames of a video that become one latent frame; 1 of an autoencoder of pictures.
        side: pixels of a side that become one latent.
        is_causal: whether the first latent frame is one frame alone, so that videos have 1 + r k frames; AToken's have
            r k.
    """

    channels: int | None
    frames: int
    side: int
    is_causal: bool

    @property
    def first_frames(self) -> int:
        """Counts the frames of a video's first latent frame."""
        return 1 if self.is_causal else self.frames

    @property
    def takes_videos(self) -> bool:
        """Tells whether it is of videos, too."""
        return self.frames > 1

    def latent_frames(self, num_frames: int) -> int:
        """Counts the latent frames of so many frames."""
        return 1 + max(0, num_frames - self.first_frames) // self.frames


def describe_autoencoder(vae: Any) -> MediaAutoencoder:
    """
    Describes an autoencoder by its class and its configuration.

    Raises:
        ValueError: it is of another class than AToken's and those of `atoken tokenize --autoencoder`.
    """
    name, config = type(vae).__name__, vae.config
    if name == _ATOKEN:
        frames, side = vae.temporal_compression_ratio, vae.spatial_compression_ratio
        return MediaAutoencoder(config.get("latent_channels"), frames, side, is_causal=False)
    if name not in _RATIOS:
        raise ValueError(f"vae must be one of {', '.join((_ATOKEN, *_RATIOS))}, got {name}")
    frames, side = _RATIOS[name](config)
    channels = config.z_dim if "z_dim" in config else config.latent_channels
    return MediaAutoencoder(channels, frames, side, is_causal=frames > 1)


def decode_media(vae: Any, latents: torch.Tensor, num_frames: int) -> torch.Tensor:
    """
    Decodes latents (B, C, t, h, w), t = 1 of images.

    Returns:
        (B, 3, H, W) of images, (B, 3, T, H, W) of videos, in about [-1, 1].
    """
    about = describe_autoencoder(vae)
    if about.is_causal:
        videos = vae.decode(latents, return_dict=False)[0]
        return videos[:, :, 0] if num_frames == 1 else videos
    if num_frames == 1:
        return vae.decode(latents[:, :, 0], return_dict=False)[0]
    return vae.decode(latents, num_frames=num_frames, return_dict=False)[0]
