"""Rows encoded by an autoencoder of diffusers: latents of pictures, or of videos, of one size."""

from importlib.metadata import version
from typing import Any

import torch

from ..autoencoders import LoadedAutoencoder
from .decoding import DecodedRow
from .encoding import RowEncoder
from .options import TokenizeOptions


def autoencoder_facts(loaded: LoadedAutoencoder) -> dict[str, Any]:
    """Gives all of an autoencoder that decides the bytes of a corpus, JSON-ready; "class" is what AToken has not."""
    side = loaded.compression
    return {
        "class": type(loaded.model).__name__,
        "name": loaded.name,
        "fingerprint": loaded.fingerprint,
        "encoder": loaded.fingerprint,
        "channels": loaded.channels,
        "codebooks": None,
        "entries": None,
        "patch_size": [loaded.frames, side, side],
        "dtype": "bfloat16",
        "diffusers": version("diffusers"),
    }


def check_autoencoder_options(loaded: LoadedAutoencoder, options: TokenizeOptions) -> None:
    """
    Checks that an autoencoder can give what is asked for.

    Raises:
        ValueError: not images, or videos, of one size that it can encode, or something else than latents.
    """
    kinds = ("image", "video") if loaded.takes_videos else ("image",)
    wanted = {"kind": kinds, "content": ("latents",), "moments": (False,)}
    for name, values in wanted.items():
        if getattr(options, name) not in values:
            allowed = " or ".join(map(str, values))
            raise ValueError(f"{name} must be {allowed} for {loaded.name}, got {getattr(options, name)}")
    frames = options.frames or 1
    if options.kind == "video" and (frames == 1 or (frames - 1) % loaded.frames):
        raise ValueError(f"frames must be given for {loaded.name}, 1 + {loaded.frames} k, got {options.frames}")
    if options.size is None or options.size % loaded.compression:
        raise ValueError(
            f"size must be given for {loaded.name}, a multiple of its {loaded.compression} pixels, got {options.size}"
        )


class AutoencoderRowEncoder(RowEncoder):
    """
    Encodes pictures or videos with an autoencoder.

    Args:
        loaded: the autoencoder.
        options: say what is stored.
    """

    def __init__(self, loaded: LoadedAutoencoder, options: TokenizeOptions):
        side = loaded.compression
        super().__init__(options, (loaded.frames, side, side), loaded.model.device)
        self.loaded = loaded

    def encode_dense(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        latents = self.loaded.encode(pixels.transpose(1, 2).float() / 127.5 - 1)  # (B, C, t, h, w)
        return {"values": latents.movedim(1, -1).flatten(0, 3).to(torch.bfloat16)}

    def encode_packed(self, rows: list[DecodedRow], flip: bool) -> dict[str, torch.Tensor]:
        raise ValueError("rows must be of one size for an autoencoder of diffusers, got several")

    def decode(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        pixels = self.loaded.decode(values.movedim(-1, 0)[None])[0].transpose(0, 1).float().cpu()  # (T, 3, H, W)
        return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)[..., : size[0], : size[1]]
