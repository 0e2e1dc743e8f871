"""Generators of latents and codes: Lightning-DiT and TokenBridge (AToken paper, sections 5.2 and 5.3)."""

from .conversion_generators_atoken import (
    convert_lightning_dit,
    convert_token_bridge,
    to_official_lightning_dit,
    to_official_token_bridge,
)
from .transformer_lightning_dit_atoken import LightningDiTTransformer2DModel
from .transformer_token_bridge_atoken import TokenBridgeModel

__all__ = [
    "LightningDiTTransformer2DModel",
    "TokenBridgeModel",
    "convert_lightning_dit",
    "convert_token_bridge",
    "to_official_lightning_dit",
    "to_official_token_bridge",
]
