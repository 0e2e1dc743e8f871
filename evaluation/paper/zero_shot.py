"""Whether made pictures and clips show what they should, told by the tokenizer's own text tower."""

from collections.abc import Sequence

import torch

from atoken.miniature.captions import MEDIUM, MOTION_WORDS
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MOTIONS, Scene

from ..interface import Embedder
from ..metrics.understanding import class_embeddings

PROTOCOL = (
    'right: the nearest prompt ("something red", "a star", "something moving left", also with "a picture of" or '
    '"a clip of" before it) by the embeddings of atoken-tiny; pair: color and shape'
)


def shares_right(made: Sequence[torch.Tensor], scenes: Sequence[Scene], embedder: Embedder) -> dict[str, float]:
    """
    Gives the shares of pictures or clips that show the color, the shape, both, and of clips the motion of a scene.

    Args:
        made: (T, 3, H, W) uint8 each, T = 1 of pictures.
        scenes: what each should show, images or videos.
        embedder: whose prompts are compared with.
    """
    embeddings = embedder.embed(list(made)).double()
    is_video = scenes[0].kind == "video"
    words: dict[str, tuple[str, Sequence[str], dict[str, str], str]] = {
        "color": ("colour", tuple(COLOURS), {}, "something "),
        "shape": ("shape", FLAT_SHAPES, {}, "a "),
    }
    if is_video:
        words["motion"] = ("motion", MOTIONS, MOTION_WORDS, "something ")
    right: dict[str, torch.Tensor] = {}
    for name, (attribute, values, spoken, before) in words.items():
        templates = (before + "{}", f"{MEDIUM[scenes[0].kind]} {before}" + "{}")
        names = [spoken.get(value, value) for value in values]
        classes = class_embeddings(embedder.embed_texts, names, templates, embedder.canonical_prompts)
        wanted = torch.tensor([values.index(getattr(scene, attribute)) for scene in scenes])
        right[name] = (embeddings @ classes.T).argmax(1) == wanted
    right["pair"] = right["color"] & right["shape"]
    return {name: float(each.double().mean()) for name, each in right.items()}


def chances(is_video: bool) -> dict[str, float]:
    """Gives the shares that guessing has."""
    color, shape = 1 / len(COLOURS), 1 / len(FLAT_SHAPES)
    found = {"color": color, "shape": shape, "pair": color * shape}
    return {**found, "motion": 1 / len(MOTIONS)} if is_video else found
