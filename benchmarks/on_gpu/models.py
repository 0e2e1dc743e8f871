"""The models that are measured, with random weights, and the cases that they are measured on."""

from dataclasses import dataclass

import torch

from atoken import AtokenConfig, AtokenModel

from .parts import Setup

TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


@dataclass(frozen=True)
class Case:
    """Holds the size of a batch: samples, frames (one of an image), rows and columns of pixels."""

    batch: int
    frames: int
    height: int
    width: int

    @property
    def grid(self) -> tuple[int, int, int]:
        """Gives latent frames, rows and columns of a sample."""
        return -(-self.frames // 4), self.height // 16, self.width // 16

    @property
    def tokens(self) -> int:
        """Counts the tokens of the batch."""
        frames, rows, columns = self.grid
        return self.batch * frames * rows * columns

    def pixels(self, setup: Setup) -> torch.Tensor:
        """Draws (B, T, 3, H, W) in [-1, 1]."""
        shape = (self.batch, self.frames, 3, self.height, self.width)
        return torch.rand(shape, device=setup.device, dtype=setup.dtype) * 2 - 1

    def latents(self, setup: Setup, channels: int) -> torch.Tensor:
        """Draws (B, t, h, w, channels)."""
        return torch.randn(self.batch, *self.grid, channels, device=setup.device).to(setup.dtype)


def cases(setup: Setup) -> dict[str, Case]:
    """Gives what is coded: batches of images, and 16 and 81 frames of 720p."""
    if setup.tiny:
        return {"images": Case(2, 1, 32, 32), "clip": Case(1, 9, 32, 48)}
    return {
        "64 images of 256": Case(64, 1, 256, 256),
        "16 images of 512": Case(16, 1, 512, 512),
        "16 frames of 720p": Case(1, 16, 720, 1280),
        "81 frames of 720p": Case(1, 81, 720, 1280),
    }


def make_config(setup: Setup, latent_channels: int = 48, with_text: bool = False) -> AtokenConfig:
    """Gives So400m's configuration, or a tiny one; with SigLIP 2's text tower of the same width if asked."""
    text = None
    sides = TINY
    if not setup.tiny:
        config = AtokenConfig.from_preset("so400m")
        sides = {name: getattr(config.vision_config, name) for name in TINY}
    if with_text:
        text = {**sides, "vocab_size": 100 if setup.tiny else 256000, "projection_size": sides["hidden_size"]}
        text |= {"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    return AtokenConfig(
        vision_config=dict(sides), decoder_config=dict(sides), text_config=text, latent_channels=latent_channels
    )


def make_model(setup: Setup) -> AtokenModel:
    """Builds AToken with random weights, in the setup's dtype."""
    with torch.device(setup.device):
        return AtokenModel(make_config(setup)).to(setup.dtype).eval()
