"""Tiny random generators and autoencoders."""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from atoken import AutoencoderAtoken
from atoken.generation import (
    LightningDiTPipeline,
    LightningDiTTransformer2DModel,
    TokenBridgeModel,
    TokenBridgePipeline,
)

NAMES = {0: "red star", 1: "blue disk, disk", 2: "star"}
STATISTICS = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 1.5]}


def randomize(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Gives all trained weights values that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def autoencoder(discrete: bool = False, channels: int = 4, **options) -> AutoencoderAtoken:
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    quantizer = {"num_codebooks": channels // 2, "codebook_dim": 2} if discrete else None
    return AutoencoderAtoken(
        vision_config=dict(tower),
        decoder_config=dict(tower),
        quantizer_config=quantizer,
        latent_channels=channels,
        **options,
    ).eval()


def lightning_dit(**options) -> LightningDiTTransformer2DModel:
    sizes = {"sample_size": 4, "in_channels": 4, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16}
    torch.manual_seed(0)
    config = {**sizes, "num_classes": 3, "id2label": NAMES, **STATISTICS, **options}
    return randomize(LightningDiTTransformer2DModel(**config))


def token_bridge(**options) -> TokenBridgeModel:
    config = {"sample_size": 3, "num_codes": 2, "codebook_size": 16, "code_channels": 2, "code_levels": 4}
    for part in ("encoder", "decoder", "head"):
        config |= {f"{part}_hidden_size": 32, f"{part}_num_layers": 1, f"{part}_num_attention_heads": 2}
    torch.manual_seed(0)
    return randomize(TokenBridgeModel(**{**config, "buffer_size": 2, "num_classes": 3, "id2label": NAMES, **options}))


def lightning_pipeline(**options) -> LightningDiTPipeline:
    pipeline = LightningDiTPipeline(lightning_dit(**options), autoencoder(), FlowMatchEulerDiscreteScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def token_pipeline(**options) -> TokenBridgePipeline:
    pipeline = TokenBridgePipeline(token_bridge(**options), autoencoder(discrete=True))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
