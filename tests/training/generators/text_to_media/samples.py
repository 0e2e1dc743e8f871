"""Conditions, batches and objectives without files."""

import numpy as np
import torch

from atoken.generation.text_conditions_atoken import TextCondition
from atoken.training.generators.text_to_media.batches import Captioned, MediaBatch, MediaBatches
from atoken.training.generators.text_to_media.captions import CaptionConditions, write_captions
from atoken.training.generators.text_to_media.objective import TextToMediaObjective
from atoken.training.generators.text_to_media.stage import TextToMediaStage

from ....generation.media_helpers import media_transformer


def stage(**options) -> TextToMediaStage:
    values = {"name": "test", "preset": "tiny", "steps": 1, "image_batch_size": 4, "video_batch_size": 2}
    return TextToMediaStage(**{**values, **options})


def encode(texts) -> TextCondition:
    """As many tokens as a text has words, at least one, whose states say which word it is."""
    words = [[float(len(word)) for word in text.split()] or [0.5] for text in texts]
    states = [torch.tensor(each)[:, None].expand(-1, 3) for each in words]
    return TextCondition.of_texts(states, [torch.full((2,), float(len(each))) for each in words])


def captions(folder, texts) -> CaptionConditions:
    for _ in write_captions(folder / "captions", texts, encode, "encoder"):
        pass
    return CaptionConditions(folder / "captions")


def media(images: int = 10, videos: int = 5) -> dict[str, Captioned]:
    """Rows whose latents say their number."""
    made = {}
    for kind, count, shape in (("image", images, (2, 2)), ("video", videos, (3, 2, 2))):
        rows = [{"latents": torch.full((4, *shape), float(i)), "caption": f"{kind} {i}"} for i in range(count)]
        sizes = np.array([[1 if kind == "image" else 3, 2, 2]] * count)
        made[kind] = Captioned(rows, sizes, [row["caption"] for row in rows])
    return {kind: each for kind, each in made.items() if len(each.sizes)}


def batches(folder, rows=None, seed: int = 0, rank: int = 0, world_size: int = 1, **options) -> MediaBatches:
    rows = media() if rows is None else rows
    texts = [text for each in rows.values() for text in each.captions]
    return MediaBatches(rows, captions(folder, texts), stage(**options), seed, rank, world_size)


def condition(count: int, length: int = 4) -> TextCondition:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.arange(count) % length + 1
    mask = torch.arange(length) < lengths[:, None]
    embeds = torch.randn(count, length, 96, generator=generator) * mask[..., None]
    return TextCondition(embeds, mask, torch.randn(count, 192, generator=generator))


def batch(count: int = 6, frames: int = 1, step: int = 0, rank: int = 0, **options) -> MediaBatch:
    latents = torch.randn(count, 4, frames, 2, 3, generator=torch.Generator().manual_seed(0))
    kind = "image" if frames == 1 else "video"
    return MediaBatch(latents, options.get("condition", condition(count)), kind, step, rank)


def objective(model=None, seed: int = 0, **options) -> TextToMediaObjective:
    model = media_transformer() if model is None else model
    return TextToMediaObjective(model, stage(**options), condition(1, 1), {"image_statistics": None}, seed)
