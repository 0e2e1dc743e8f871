"""A tiny random pipeline of images and videos, with the embedded tokenizer's own text tower."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import AutoTokenizer

from atoken import AtokenModel
from atoken.generation import TextToMediaPipeline, text_to_media_transformer

from .helpers import autoencoder, randomize

TOKENIZER = Path(__file__).parents[2] / "checkpoints/atoken-tiny"
SIZES = {"num_layers": 2, "num_attention_heads": 2, "text_embed_dim": 96, "pooled_projection_dim": 192}
IMAGE_STATISTICS = {"mean": [0.1, -0.2, 0.3, 0.0], "std": [1.0, 2.0, 0.5, 1.5]}
VIDEO_STATISTICS = {"mean": [0.2, 0.0, -0.1, 0.4], "std": [0.5, 1.0, 1.5, 1.0]}
SAMPLING = {"height": 32, "width": 48, "num_inference_steps": 3, "guidance_scale": 3.0}


@cache
def text_tower() -> tuple[Any, Any]:
    """The text encoder and its tokenizer."""
    model = AtokenModel.from_pretrained(TOKENIZER, dtype=torch.float32)
    return model.text_model.eval(), AutoTokenizer.from_pretrained(TOKENIZER)


def media_transformer(**options) -> torch.nn.Module:
    torch.manual_seed(0)
    return randomize(text_to_media_transformer("tiny", 4, **{**SIZES, **options}))


def media_pipeline(transformer: torch.nn.Module | None = None, **options) -> TextToMediaPipeline:
    encoder, tokenizer = text_tower()
    given = {
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "text_encoder": encoder,
        "tokenizer": tokenizer,
        "image_statistics": IMAGE_STATISTICS,
        "video_statistics": VIDEO_STATISTICS,
        "image_sampling": SAMPLING,
        "video_sampling": SAMPLING,
    }
    model = media_transformer() if transformer is None else transformer
    vae = options.pop("vae", None) or autoencoder()
    pipeline = TextToMediaPipeline(model, vae, **{**given, **options})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]
