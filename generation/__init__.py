"""Generators of latents and codes of images, videos and 3D objects (AToken paper, sections 5.2 to 5.5)."""

try:
    import diffusers
except ImportError as error:
    raise ImportError('generators need diffusers: pip install "atoken[diffusers]"') from error

from .autoencoder_sparse_structure_atoken import SparseStructureAutoencoder
from .conversion_generators_atoken import (
    convert_lightning_dit,
    convert_sparse_structure_autoencoder,
    convert_sparse_structure_flow,
    convert_structured_latent_flow,
    convert_token_bridge,
    to_official_lightning_dit,
    to_official_sparse_structure_autoencoder,
    to_official_sparse_structure_flow,
    to_official_structured_latent_flow,
    to_official_token_bridge,
)
from .conversion_trellis_atoken import TrellisParts, convert_trellis_folder
from .pipeline_image_to_object_atoken import ImageToObjectPipeline
from .pipeline_lightning_dit_atoken import LightningDiTPipeline
from .pipeline_text_to_media_atoken import TextToMediaPipeline
from .pipeline_token_bridge_atoken import TokenBridgePipeline
from .text_conditions_atoken import TextCondition
from .text_to_media_presets_atoken import text_to_media_transformer
from .transformer_lightning_dit_atoken import LightningDiTTransformer2DModel
from .transformer_sparse_structure_atoken import SparseStructureFlowModel
from .transformer_structured_latent_atoken import StructuredLatentFlowModel
from .transformer_token_bridge_atoken import TokenBridgeModel

__all__ = [
    "ImageToObjectPipeline",
    "LightningDiTPipeline",
    "LightningDiTTransformer2DModel",
    "SparseStructureAutoencoder",
    "SparseStructureFlowModel",
    "StructuredLatentFlowModel",
    "TextCondition",
    "TextToMediaPipeline",
    "TokenBridgeModel",
    "TokenBridgePipeline",
    "TrellisParts",
    "convert_lightning_dit",
    "convert_sparse_structure_autoencoder",
    "convert_sparse_structure_flow",
    "convert_structured_latent_flow",
    "convert_token_bridge",
    "convert_trellis_folder",
    "text_to_media_transformer",
    "to_official_lightning_dit",
    "to_official_sparse_structure_autoencoder",
    "to_official_sparse_structure_flow",
    "to_official_structured_latent_flow",
    "to_official_token_bridge",
]

# As `DiffusionPipeline.from_pretrained` looks a pipeline's class up there by its name.
for pipeline_class in (ImageToObjectPipeline, LightningDiTPipeline, TextToMediaPipeline, TokenBridgePipeline):
    setattr(diffusers, pipeline_class.__name__, pipeline_class)
del pipeline_class
