"""Generators of latents and codes: Lightning-DiT and TokenBridge (AToken paper, sections 5.2 and 5.3)."""

try:
    import diffusers
except ImportError as error:
    raise ImportError('generators need diffusers: pip install "atoken[diffusers]"') from error

from .conversion_generators_atoken import (
    convert_lightning_dit,
    convert_token_bridge,
    to_official_lightning_dit,
    to_official_token_bridge,
)
from .pipeline_lightning_dit_atoken import LightningDiTPipeline
from .pipeline_token_bridge_atoken import TokenBridgePipeline
from .transformer_lightning_dit_atoken import LightningDiTTransformer2DModel
from .transformer_token_bridge_atoken import TokenBridgeModel

__all__ = [
    "LightningDiTPipeline",
    "LightningDiTTransformer2DModel",
    "TokenBridgeModel",
    "TokenBridgePipeline",
    "convert_lightning_dit",
    "convert_token_bridge",
    "to_official_lightning_dit",
    "to_official_token_bridge",
]

# As `DiffusionPipeline.from_pretrained` looks a pipeline's class up there by its name.
for pipeline_class in (LightningDiTPipeline, TokenBridgePipeline):
    setattr(diffusers, pipeline_class.__name__, pipeline_class)
del pipeline_class
