"""Whether made pictures and clips of the miniature world show what their captions say: color, shape, both, motion."""

from collections.abc import Mapping, Sequence

import torch

from atoken.miniature.captions import MEDIUM, MOTION_WORDS
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MOTIONS

from ..interface import Embedder
from .understanding import class_embeddings

# What is asked of a scene -> the name of the attribute, and its words in the order of their numbers.
WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "color": ("colour", tuple(COLOURS)),
    "shape": ("shape", tuple(FLAT_SHAPES)),
    "motion": ("motion", tuple(MOTIONS)),
}


def words_asked(kind: str) -> tuple[str, ...]:
    """Lists what is asked of a kind: images do not move."""
    return ("color", "shape", "motion") if kind == "video" else ("color", "shape")


def chances(kind: str) -> dict[str, float]:
    """Gives the shares that guessing has: of each word, of color and shape as a "pair", and of "all" of a clip."""
    found = {name: 1 / len(WORDS[name][1]) for name in words_asked(kind)}
    found["pair"] = found["color"] * found["shape"]
    return {**found, "all": found["pair"] * found["motion"]} if kind == "video" else found


def rights(shown: Sequence[Mapping[str, str]], told: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Compares what N pictures or clips should show with what they were told to show.

    Args:
        shown: attributes of scenes by name, such as "colour" and "shape".
        told: numbers of "color", "shape" and, of clips, "motion", (N,) each.

    Returns:
        (N,) bool by the same names, and of "pair" (color and shape) and, of clips, "all" three.
    """
    right = {}
    for name, numbers in told.items():
        attribute, words = WORDS[name]
        right[name] = numbers.cpu() == torch.tensor([words.index(scene[attribute]) for scene in shown])
    right["pair"] = right["color"] & right["shape"]
    if "motion" in right:
        right["all"] = right["pair"] & right["motion"]
    return right


def shares_right(shown: Sequence[Mapping[str, str]], told: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Gives the shares that are right; arguments and names are those of `rights`."""
    return {name: float(each.double().mean()) for name, each in rights(shown, told).items()}


# What tables say of how words were told by `ZeroShotWords`.
ZERO_SHOT = (
    'right: the nearest prompt ("something red", "a star", "something moving left", also with "a picture of" or '
    '"a clip of" before it) by the embeddings of atoken-tiny; pair: color and shape'
)


class ZeroShotWords:
    """
    Tells what pictures and clips show by the nearest prompt of an embedder's own text tower.

    Args:
        embedder: of pictures, clips and texts.
    """

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        self._prompts: dict[str, dict[str, torch.Tensor]] = {}

    def told(self, media: Sequence[torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
        """
        Gives numbers of "color" and "shape" and, of clips, "motion", (N,) each.

        Args:
            media: N of (T, 3, H, W) uint8.
            kind: "image" or "video".
        """
        embeddings = self.embedder.embed(list(media)).double()
        return {name: (embeddings @ prompts.T).argmax(1) for name, prompts in self._of(kind).items()}

    def _of(self, kind: str) -> dict[str, torch.Tensor]:
        """Embeds the prompts of a kind once: (words, d) by what is asked."""
        if kind not in self._prompts:
            self._prompts[kind] = {name: self._embedded(name, kind) for name in words_asked(kind)}
        return self._prompts[kind]

    def _embedded(self, name: str, kind: str) -> torch.Tensor:
        before = "a " if name == "shape" else "something "
        templates = (before + "{}", f"{MEDIUM[kind]} {before}" + "{}")
        words = [MOTION_WORDS[word] if name == "motion" else word for word in WORDS[name][1]]
        return class_embeddings(self.embedder.embed_texts, words, templates, self.embedder.canonical_prompts)
