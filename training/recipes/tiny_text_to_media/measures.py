"""How often generated images and clips show what their captions say: color, shape, both, and motion."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from atoken.evaluation.interface import Embedder
from atoken.evaluation.metrics.understanding import class_embeddings
from atoken.miniature.captions import MEDIUM, MOTION_WORDS
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MOTIONS, Scene

CHANCE = {"color": 1 / 8, "shape": 1 / 8, "pair": 1 / 64, "motion": 1 / 8, "all": 1 / 512}


def shares_right(scenes: Sequence[Scene], found: dict[str, torch.Tensor]) -> dict[str, float]:
    """
    Gives the shares of pictures that show the right things.

    Args:
        scenes: what each of N pictures or clips should show.
        found: numbers of "color", "shape" and, of clips, "motion", (N,) each.

    Returns:
        Shares by the same names, of "pair" (color and shape) and, of clips, of "all" three.
    """
    words = {"color": ("colour", tuple(COLOURS)), "shape": ("shape", FLAT_SHAPES), "motion": ("motion", MOTIONS)}
    right = {}
    for name, numbers in found.items():
        attribute, all_words = words[name]
        wanted = torch.tensor([all_words.index(getattr(scene, attribute)) for scene in scenes])
        right[name] = numbers.cpu() == wanted
    right["pair"] = right["color"] & right["shape"]
    if "motion" in right:
        right["all"] = right["pair"] & right["motion"]
    return {name: float(each.double().mean()) for name, each in right.items()}


def zero_shot(pictures: np.ndarray, embedder: Embedder) -> dict[str, torch.Tensor]:
    """Tells by the nearest prompt of the tokenizer's own text tower what (N, T, 3, 64, 64) uint8 show."""
    embeddings = embedder.embed([torch.from_numpy(each) for each in pictures]).double()
    is_video = pictures.shape[1] > 1
    sets: dict[str, tuple[Sequence[str], str]] = {
        "color": (tuple(COLOURS), "something "),
        "shape": (FLAT_SHAPES, "a "),
    }
    if is_video:
        sets["motion"] = ([MOTION_WORDS[motion] for motion in MOTIONS], "something ")
    medium, found = MEDIUM["video" if is_video else "image"], {}
    for name, (words, before) in sets.items():
        templates = (before + "{}", f"{medium} {before}" + "{}")
        classes = class_embeddings(embedder.embed_texts, words, templates, embedder.canonical_prompts)
        found[name] = (embeddings @ classes.T).argmax(1)
    return found


def share_of(found: dict[str, float], ceiling: dict[str, float]) -> dict[str, float]:
    """Gives shares of the ceiling's shares."""
    return {name: found[name] / ceiling[name] for name in found if ceiling[name]}


def as_facts(scenes: Sequence[Scene], found: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Gives shares that are right with the number of pictures."""
    return {"count": len(scenes), **shares_right(scenes, found)}
