"""Tiny random models of image to 3D, and pictures with alpha."""

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from atoken import AtokenConfig, AtokenModel
from atoken.generation import (
    ImageToObjectPipeline,
    SparseStructureAutoencoder,
    SparseStructureFlowModel,
    StructuredLatentFlowModel,
)

from .helpers import STATISTICS, randomize

FLOW = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32}
GAUSSIANS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "in_channels": 64,
    "num_gaussians": 2,
    "resolution": 8,
}


def tokenizer(**options) -> AtokenModel:
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = {"vision_config": tower, "decoder_config": dict(tower), "gaussian_config": GAUSSIANS, "latent_channels": 4}
    return AtokenModel(AtokenConfig(**{**config, "text_config": None, **options})).eval()


def structure_vae(**options) -> SparseStructureAutoencoder:
    torch.manual_seed(0)
    return randomize(SparseStructureAutoencoder(**{"latent_channels": 2, "block_out_channels": (4, 8), **options}))


def structure_flow(**options) -> SparseStructureFlowModel:
    torch.manual_seed(0)
    return randomize(SparseStructureFlowModel(**{"sample_size": 4, "in_channels": 2, **FLOW, **options}))


def latent_flow(**options) -> StructuredLatentFlowModel:
    torch.manual_seed(0)
    config = {"sample_size": 8, "in_channels": 4, "io_channels": 8, **FLOW, **STATISTICS, **options}
    return randomize(StructuredLatentFlowModel(**config))


def dinov2() -> Dinov2WithRegistersModel:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes)).eval()


def object_pipeline(own_encoder: bool = True, **parts) -> ImageToObjectPipeline:
    sampling = {"num_inference_steps": 3}
    given = {
        "structure_vae": structure_vae(),
        "structure_transformer": structure_flow(),
        "latent_transformer": latent_flow(),
        "vae": tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "image_encoder": None if own_encoder else dinov2(),
        "structure_sampling": dict(sampling),
        "latent_sampling": {**sampling, "guidance_interval": [0.0, 1.0]},
        "picture_size": 32,
    }
    pipeline = ImageToObjectPipeline(**{**given, **parts})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A disk of random colors on nothing."""
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    values[..., 3] = 255 * ((rows - 14) ** 2 + (columns - 20) ** 2 < 100)
    return Image.fromarray(values)
