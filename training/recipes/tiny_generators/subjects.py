"""The two generators that are trained here: of what, on what, and how they may be sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from atoken import AutoencoderAtoken
from atoken.evaluation.seeded_images import SeededImages
from atoken.generation import (
    LightningDiTPipeline,
    LightningDiTTransformer2DModel,
    TokenBridgeModel,
    TokenBridgePipeline,
)

STAGES = Path(__file__).parent / "stages"
_BATCH = 64  # images that are sampled at a time


@dataclass(frozen=True)
class Subject:
    """
    Describes a generator of this recipe.

    Attributes:
        name: of the checkpoint.
        tokenizer: name of the checkpoint whose tokens it generates.
        corpus: "latents" or "codes".
        settings: of sampling, of which the best are chosen; arguments of the pipeline.
    """

    name: str
    tokenizer: str
    corpus: str
    settings: tuple[dict[str, Any], ...]

    @property
    def stage_file(self) -> Path:
        """Gives the file with the settings of its training."""
        return STAGES / f"{self.name}.yaml"

    def open_tokenizer(self, folder: Path) -> AutoencoderAtoken:
        """Loads a tokenizer in fp32."""
        return AutoencoderAtoken.from_pretrained(folder, torch_dtype=torch.float32).eval()

    def open(self, transformer: Path, tokenizer: Path) -> DiffusionPipeline:
        """Makes the pipeline of a trained generator's folder and its tokenizer's, in fp32."""
        vae = self.open_tokenizer(tokenizer)
        pipeline: DiffusionPipeline
        if self.corpus == "latents":
            model = LightningDiTTransformer2DModel.from_pretrained(transformer, torch_dtype=torch.float32)
            pipeline = LightningDiTPipeline(model, vae, FlowMatchEulerDiscreteScheduler())
        else:
            pipeline = TokenBridgePipeline(
                TokenBridgeModel.from_pretrained(transformer, torch_dtype=torch.float32), vae
            )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


SUBJECTS = (
    Subject(
        "lightning-dit-tiny",
        "atoken-tiny",
        "latents",
        tuple({"num_inference_steps": 32, "guidance_scale": scale} for scale in (1.0, 1.65, 2.5, 4.0)),
    ),
    Subject(
        "token-bridge-tiny",
        "atoken-tiny-d",
        "codes",
        tuple(
            {"num_inference_steps": 16, "guidance_scale": scale, "temperature": temperature}
            for scale, temperature in ((3.1, 0.96), (3.1, 0.5), (2.0, 0.2), (2.0, 0.1), (2.5, 0.1), (3.1, 0.1))
        ),
    ),
)


def sample(pipeline: Any, indices: Sequence[int], seed: int, settings: dict[str, Any]) -> np.ndarray:
    """
    Samples images as `atoken generate` does: classes take turns, and an image depends on the seed and its own number
    alone.

    Returns:
        (N, 3, 64, 64) uint8.
    """
    seeded = SeededImages(pipeline, seed=seed, settings=settings)
    parts = (indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH))
    return np.concatenate([seeded.images(part).numpy() for part in parts])


@torch.no_grad()
def through_tokenizer(vae: AutoencoderAtoken, pictures: np.ndarray) -> np.ndarray:
    """Encodes and decodes (N, 3, 64, 64) uint8 pictures: the best that a generator of the tokens can do."""
    decoded = [
        vae.decode(vae.encode(batch.float() / 127.5 - 1).latent_dist.mode()).sample
        for batch in torch.from_numpy(pictures).split(_BATCH)
    ]
    return ((torch.cat(decoded) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
