"""Sizes of the transformer that makes images and videos of texts: the one of HunyuanVideo, in diffusers."""

from typing import Any

from diffusers import HunyuanVideoTransformer3DModel

# What is the same in all sizes: joint attention of text and media in every block, patches of one latent.
_COMMON: dict[str, Any] = {"patch_size": 1, "patch_size_t": 1, "num_single_layers": 0, "guidance_embeds": False}
# Heads and their width, blocks, and the widths of the text encoder: ours (tiny, small), or T5-XXL with CLIP-L (base).
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_attention_heads": 6,
        "attention_head_dim": 32,
        "num_layers": 6,
        "num_refiner_layers": 1,
        "rope_axes_dim": (8, 12, 12),
        "text_embed_dim": 192,
        "pooled_projection_dim": 192,
    },
    "small": {
        "num_attention_heads": 12,
        "attention_head_dim": 64,
        "num_layers": 12,
        "num_refiner_layers": 2,
        "rope_axes_dim": (16, 24, 24),
        "text_embed_dim": 1152,
        "pooled_projection_dim": 1152,
    },
    "base": {
        "num_attention_heads": 16,
        "attention_head_dim": 64,
        "num_layers": 24,
        "num_refiner_layers": 2,
        "rope_axes_dim": (16, 24, 24),
        "text_embed_dim": 4096,
        "pooled_projection_dim": 768,
    },
}


def text_to_media_transformer(preset: str, in_channels: int = 48, **options: Any) -> HunyuanVideoTransformer3DModel:
    """
    Makes a transformer with random weights.

    Args:
        preset: "tiny" (9.0 M parameters), "small" (278 M) or "base" (952 M).
        in_channels: channels of the latents.
        options: other arguments of `HunyuanVideoTransformer3DModel`, such as `num_layers` or `text_embed_dim`, the
            channels of the text encoder's states.

    Raises:
        ValueError: there is no such preset, or an option does not fit.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    if in_channels < 1:
        raise ValueError(f"in_channels must be at least 1, got {in_channels}")
    sizes = {**_COMMON, **PRESETS[preset], "in_channels": in_channels, "out_channels": in_channels, **options}
    axes, width = tuple(sizes["rope_axes_dim"]), sizes["attention_head_dim"]
    if len(axes) != 3 or sum(axes) != width or any(axis % 2 for axis in axes):
        raise ValueError(
            f"rope_axes_dim must be three even numbers that add up to attention_head_dim, {width}, got {list(axes)}"
        )
    try:
        return HunyuanVideoTransformer3DModel(**sizes)
    except TypeError as error:
        raise ValueError(f"options must be arguments of HunyuanVideoTransformer3DModel: {error}") from error
