"""A generator measured: settings of sampling are chosen, and samples compared with the ceiling and with training."""

from pathlib import Path
from typing import Any

import numpy as np

from atoken.evaluation.metrics.scene_judge import SceneJudge
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder

from .corpora import read_pictures
from .measures import CHANCE, gaussian_of, judged_measures, nearest, zero_shot_measures
from .pictures import save_grid
from .scenes import CLASS_NAMES, draw_scenes
from .subjects import Subject, sample, through_tokenizer

REFERENCE = 4096  # true scenes that features are compared with
CHOSEN_BY = 512  # samples of each setting
COMPARED = 256  # samples whose neighbors in training are looked for
CHOICE_SEED, SAMPLE_SEED = 1, 0  # so that no sample that is reported has taken part in the choice
CLOSE = 0.02  # settings whose share of right pairs is so near the best are told apart by their distance
COLUMNS, NEIGHBORS = 16, 12  # of the pictures


def choose(candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """Gives the candidate with the smallest "fid" of those whose "pair" is close to the best."""
    best = max(each["pair"] for each in candidates)
    return min((each for each in candidates if each["pair"] >= best - CLOSE), key=lambda each: each["fid"])


def measure(
    subject: Subject, transformer: Path, tokenizer: Path, judge: SceneJudge, pictures: Path, count: int, out: Path
) -> dict[str, Any]:
    """
    Measures a generator, and writes out/samples.png and out/neighbors.png.

    Args:
        transformer, tokenizer: folders of the generator and of its tokenizer.
        pictures: that it was trained on.
        count: samples, whose classes take turns.

    Returns:
        JSON-ready: "sampling", the chosen settings; "choices", what each candidate gave; "samples", "ceiling" (true
        scenes through the tokenizer) and "scenes" (as they were drawn) with color, shape, pair and fid;
        "share_of_ceiling"; "chance"; "zero_shot" of samples and ceiling; "neighbors".
    """
    pipeline = subject.open(transformer, tokenizer)
    reference = gaussian_of(judge.judged(draw_scenes("reference", REFERENCE))[0])
    candidates = []
    for settings in subject.settings:
        found = judged_measures(judge, sample(pipeline, range(CHOSEN_BY), CHOICE_SEED, settings), reference)
        candidates.append({"settings": settings, "count": CHOSEN_BY, **found})
    settings = choose(candidates)["settings"]
    made = sample(pipeline, range(count), SAMPLE_SEED, settings)
    scenes = draw_scenes("ceiling", count)
    best = through_tokenizer(pipeline.vae, scenes)
    of_samples, of_best, of_scenes = (judged_measures(judge, each, reference) for each in (made, best, scenes))
    embedder = AtokenEmbedder(str(tokenizer))
    classes = len(CLASS_NAMES)
    save_grid(
        [each[start : start + COLUMNS] for start in range(0, classes, COLUMNS) for each in (best, made)],
        out / "samples.png",
    )
    return {
        "sampling": settings,
        "choices": candidates,
        "samples": {"count": count, **of_samples},
        "ceiling": of_best,
        "scenes": of_scenes,
        "share_of_ceiling": {name: of_samples[name] / of_best[name] for name in CHANCE},
        "chance": CHANCE,
        "zero_shot": {
            "samples": zero_shot_measures(embedder, made),
            "ceiling": zero_shot_measures(embedder, best),
        },
        "neighbors": _neighbors(made, best, read_pictures(pictures), out / "neighbors.png"),
    }


def _neighbors(made: np.ndarray, best: np.ndarray, trained: np.ndarray, path: Path) -> dict[str, float]:
    """Compares samples with their nearest scenes of training, and as a scale new scenes with theirs."""
    few = slice(0, min(len(made), COMPARED))
    distances, index = nearest(made[few], len(trained), lambda rows: trained[rows.start : rows.stop])
    others, _ = nearest(best[few], len(trained), lambda rows: trained[rows.start : rows.stop])
    shown = np.argsort(distances)[:NEIGHBORS]
    save_grid([made[few][shown], trained[index[shown]]], path)
    return {
        "samples": float(np.median(distances)),
        "samples_least": float(distances.min()),
        "new_scenes": float(np.median(others)),
        "new_scenes_least": float(others.min()),
    }
