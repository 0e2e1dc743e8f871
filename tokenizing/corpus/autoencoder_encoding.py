"""Rows encoded by an autoencoder of diffusers: latents of pictures of one size."""

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
        "patch_size": [1, side, side],
        "dtype": "bfloat16",
        "diffusers": version("diffusers"),
    }


def check_autoencoder_options(loaded: LoadedAutoencoder, options: TokenizeOptions) -> None:
    """
    Checks that an autoencoder can give what is asked for.

    Raises:
        ValueError: not images of one size that it can encode, or something else than latents.
    """
    wanted = {"kind": "image", "content": "latents", "moments": False}
    for name, value in wanted.items():
        if getattr(options, name) != value:
            raise ValueError(f"{name} must be {value} for {loaded.name}, got {getattr(options, name)}")
    if options.size is None or options.size % loaded.compression:
        raise ValueError(
            f"size must be given for {loaded.name}, a multiple of its {loaded.compression} pixels, got {options.size}"
        )


class AutoencoderRowEncoder(RowEncoder):
    """
    Encodes pictures with an autoencoder.

    Args:
        loaded: the autoencoder.
        options: say what is stored.
    """

    def __init__(self, loaded: LoadedAutoencoder, options: TokenizeOptions):
        super().__init__(options, (1, loaded.compression, loaded.compression), loaded.model.device)
        self.loaded = loaded

    def encode_dense(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        latents = self.loaded.encode(pixels[:, 0].float() / 127.5 - 1)  # (B, C, h, w)
        return {"values": latents.permute(0, 2, 3, 1).flatten(0, 2).to(torch.bfloat16)}

    def encode_packed(self, rows: list[DecodedRow], flip: bool) -> dict[str, torch.Tensor]:
        raise ValueError("rows must be of one size for an autoencoder of diffusers, got several")

    def decode(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        pixels = self.loaded.decode(values.permute(0, 3, 1, 2)).float().cpu()
        return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)[..., : size[0], : size[1]]
