"""Images and clips of the trained generator, and true scenes through its tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel

from atoken import AutoencoderAtoken
from atoken.generation import TextToMediaPipeline
from atoken.tokenizing.loading import load_model
from atoken.training.generators.text_to_media.statistics_file import read_statistics

from .worlds import FRAMES, SIZE

BATCH = {"image": 48, "video": 16}  # that are made at a time
SIZES = {"height": SIZE, "width": SIZE}


def open_pipeline(
    trained: Path, tokenizer: Path, sampling: dict[str, dict[str, Any]] | None = None
) -> TextToMediaPipeline:
    """
    Makes the pipeline of a training's folder and of its tokenizer, whose text tower encodes, in fp32.

    Args:
        trained: folder of averaged weights and statistics.
        tokenizer: folder of the model.
        sampling: settings by kind that are to be the pipeline's own.
    """
    loaded = load_model(str(tokenizer), "cpu", "float32")
    pipeline = TextToMediaPipeline(
        HunyuanVideoTransformer3DModel.from_pretrained(trained, torch_dtype=torch.float32),
        AutoencoderAtoken.from_pretrained(tokenizer, torch_dtype=torch.float32).eval(),
        FlowMatchEulerDiscreteScheduler(),
        loaded.model.text_model,
        loaded.processor.tokenizer,
        **read_statistics(trained),
        **{f"{kind}_sampling": {**SIZES, **(sampling or {}).get(kind, {})} for kind in ("image", "video")},
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(pipeline: TextToMediaPipeline, captions: Sequence[str], kind: str, seed: int, **settings: Any) -> np.ndarray:
    """
    Samples images or clips, each of which depends on the seed and its own number alone.

    Returns:
        (N, T, 3, 64, 64) uint8, T = 1 of images.
    """
    made, frames = [], FRAMES if kind == "video" else 1
    for start in range(0, len(captions), BATCH[kind]):
        texts = list(captions[start : start + BATCH[kind]])
        numbers = [np.random.SeedSequence([seed, start + i]).generate_state(1)[0] for i in range(len(texts))]
        generators = [torch.Generator().manual_seed(int(number)) for number in numbers]
        found = pipeline(texts, frames, generator=generators, output_type="pt", **settings)
        pixels = found.images[:, None] if kind == "image" else found.frames
        made.append((pixels * 255).round().to(torch.uint8).numpy())
    return np.concatenate(made)


@torch.no_grad()
def through_tokenizer(vae: AutoencoderAtoken, pictures: np.ndarray) -> np.ndarray:
    """Encodes and decodes (N, T, 3, 64, 64) uint8: the best that a generator of the latents can do."""
    frames, decoded = pictures.shape[1], []
    for batch in torch.from_numpy(pictures).split(BATCH["video"]):
        pixels = batch.float() / 127.5 - 1
        if frames == 1:
            back = vae(pixels[:, 0]).sample[:, None]
        else:
            back = vae(pixels.transpose(1, 2)).sample.transpose(1, 2)
        decoded.append(((back + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(decoded).numpy()
