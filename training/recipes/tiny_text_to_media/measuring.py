"""The generator measured: settings of sampling are chosen, and what it makes of held-out captions is judged."""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atoken.evaluation.metrics.scene_judges import SceneJudges
from atoken.evaluation.metrics.scene_words import ZeroShotWords, chances
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder
from atoken.generation import TextToMediaPipeline

from ..tiny_generators.pictures import save_grid
from .measures import as_facts, right_in, share_of
from .sampling import sample, through_tokenizer
from .worlds import MEASURED, caption_of, drawn, measured_scenes

STEPS = 32
# Scales and shares of rescaling of which the best are chosen: much guidance makes shapes clearer and spoils colors.
GUIDANCE = (3.0, 4.0, 6.0)
RESCALES = (0.0, 0.7)
CHOSEN_BY = 384  # samples of each: with 192, several were equally good
CHOICE_SEED = MEASURED + 1  # so that no sample that is reported has taken part in the choice
SHOWN = 8  # captions of a grid
SHOWN_FRAMES = (0, 5, 10, 15)


def choose(pipeline: TextToMediaPipeline, kind: str, judges: SceneJudges) -> list[dict[str, Any]]:
    """
    Tries scales and rescaling of guidance on scenes whose pairs of color and shape were learned, best first.

    Returns:
        "settings", "count" and the shares that are right of each.
    """
    scenes = measured_scenes(kind, "train", CHOSEN_BY, CHOICE_SEED)
    captions, tried = [caption_of(scene) for scene in scenes], []
    for scale, rescale in itertools.product(GUIDANCE, RESCALES):
        settings = {"num_inference_steps": STEPS, "guidance_scale": scale, "guidance_rescale": rescale}
        made = sample(pipeline, captions, kind, CHOICE_SEED, **settings)
        tried.append({"settings": settings, **as_facts(scenes, judges.judged(made, kind))})
    return sorted(tried, key=lambda each: -each["all" if kind == "video" else "pair"])


def measure(
    pipeline: TextToMediaPipeline,
    kind: str,
    count: int,
    settings: dict[str, Any],
    judges: SceneJudges,
    embedder: AtokenEmbedder,
    out: Path,
) -> dict[str, Any]:
    """
    Measures one kind, and writes out/KIND-samples.png: true scenes through the tokenizer, and below them samples.

    Returns:
        JSON-ready: "samples" and "ceiling" (true scenes through the tokenizer) of held-out captions, "scenes" (as they
        are drawn), "seen" (samples of captions whose pairs were learned), "share_of_ceiling", "chance", "zero_shot" of
        samples and ceiling, and "seconds" a sample.
    """
    scenes = measured_scenes(kind, "held_out", count)
    true = drawn(scenes)
    best = through_tokenizer(pipeline.vae, true)
    began = time.perf_counter()
    made = sample(pipeline, [caption_of(scene) for scene in scenes], kind, MEASURED, **settings)
    seconds = (time.perf_counter() - began) / count
    found, ceiling = (right_in(scenes, judges.judged(each, kind)) for each in (made, best))
    seen = measured_scenes(kind, "train", count)
    made_of_seen = sample(pipeline, [caption_of(scene) for scene in seen], kind, MEASURED, **settings)
    of_seen = judges.judged(made_of_seen, kind)
    words = ZeroShotWords(embedder)
    _save_samples(best, made, out / f"{kind}-samples.png")
    return {
        "samples": {"count": count, **found},
        "ceiling": ceiling,
        "scenes": right_in(scenes, judges.judged(true, kind)),
        "seen": right_in(seen, of_seen),
        "share_of_ceiling": share_of(found, ceiling),
        "chance": chances(kind),
        "zero_shot": {
            "samples": right_in(scenes, words.told(list(torch.from_numpy(made)), kind)),
            "ceiling": right_in(scenes, words.told(list(torch.from_numpy(best)), kind)),
        },
        "seconds": seconds,
    }


def _save_samples(best: np.ndarray, made: np.ndarray, path: Path) -> None:
    """Writes rows of true scenes through the tokenizer above samples of the same captions; of clips some frames."""
    rows = []
    if best.shape[1] == 1:
        for start in range(0, min(len(best), 4 * SHOWN), SHOWN):
            rows += [each[start : start + SHOWN, 0] for each in (best, made)]
    else:
        for index in range(min(len(best), SHOWN)):
            rows.append(np.concatenate([each[index, list(SHOWN_FRAMES)] for each in (best, made)]))
    save_grid(rows, path)
