"""Tiny models and packed batches that several test files share."""

import torch

from atoken import AtokenConfig, AtokenModel
from atoken.token_layouts_atoken import grid_coords
from atoken.tokens_atoken import patchify

PATCH = (4, 16, 16)
WIDTH, LATENTS = 48, 12
TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "projection_size": WIDTH,
    # The defaults lie outside of so small a vocabulary.
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 1,
}


def tiny_config(discrete=False, text=False, vision=None, decoder=None, **options) -> AtokenConfig:
    size = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    return AtokenConfig(
        **{
            "vision_config": {**size, **(vision or {})},
            "decoder_config": {**size, **(decoder or {})},
            "quantizer_config": {"num_codebooks": 2, "codebook_dim": 6} if discrete else None,
            "text_config": TEXT if text else None,
            "latent_channels": LATENTS,
            **options,
        }
    )


@torch.no_grad()
def randomize(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """
    Draws every parameter, biases, gains and tables included, large enough that each of them shows in the output.

    Freshly initialized weights would not do: their attention is nearly uniform and their biases are zero.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.numel() == 1:
            continue  # logit scale and bias
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.2 * noise)
        elif "position" in name or name.endswith("probe"):
            parameter.copy_(noise)
        elif parameter.ndim == 1:
            parameter.copy_(0.3 * noise)
        else:
            parameter.copy_(noise / parameter.shape[1] ** 0.5)
    return model.eval()


def make_model(seed: int = 0, **options) -> AtokenModel:
    return randomize(AtokenModel(tiny_config(**options)), seed)


def media(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random values in [-1, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def as_tokens(video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, C, H, W) -> features (N, patch_dim) and coords (N, 4)."""
    patches = patchify(video[None], PATCH)
    return patches.flatten(0, 3), grid_coords(tuple(patches.shape[1:4]), video.device)


def voxel_tokens(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Occupied voxels of a 16^3 grid: 768 features and zeros, coordinates with t = 1 as in the official data."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(16**3, generator=generator)[:count]
    x, y, z = cells // 256, cells // 16 % 16, cells % 16
    colors = torch.rand(count, 768, generator=generator) * 2 - 1
    return torch.nn.functional.pad(colors, (0, 3072 - 768)), torch.stack([torch.ones_like(x), x, y, z], dim=1)


def pack(samples: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples (features, coords) one after another, and their cumulative lengths."""
    lengths = torch.tensor([0] + [len(features) for features, _ in samples])
    features, coords = (torch.cat(parts) for parts in zip(*samples, strict=True))
    return features, coords, lengths.cumsum(0).to(torch.int32)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Equal within an absolute tolerance."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)
