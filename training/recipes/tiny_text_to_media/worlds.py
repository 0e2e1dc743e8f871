"""Scenes with captions that the generator learns of, and others that it is measured by."""

import numpy as np

from atoken.miniature.captions import full_caption
from atoken.miniature.scenes import Scene
from atoken.miniature.world import MiniatureWorld, draw

SIZE, FRAMES = 64, 16  # pixels of each side, frames of a clip
KINDS = ("image", "video")
# Seeds of worlds that share no scene: the generator learns of one, networks that judge of another.
LEARNED, JUDGED, MEASURED = 11, 12, 13


def learned_world(kind: str, count: int) -> MiniatureWorld:
    """Gives scenes without any held-out combination; half of their captions leave something out."""
    return MiniatureWorld(kind, "train", count, LEARNED, SIZE, FRAMES)


def measured_scenes(kind: str, split: str, count: int, seed: int = MEASURED) -> list[Scene]:
    """
    Gives new scenes.

    Args:
        kind: "image" or "video".
        split: "held_out" for pairs of color and shape that no training has seen, "train" for others.
        count: how many.
        seed: of the world.
    """
    world = MiniatureWorld(kind, split, count, seed, SIZE, FRAMES)
    return [world.describe(index)[0] for index in range(count)]


def caption_of(scene: Scene) -> str:
    """Gives the sentence that says all of a scene."""
    return full_caption(scene)


def drawn(scenes: list[Scene]) -> np.ndarray:
    """Draws scenes of one kind: (N, T, 3, 64, 64) uint8, T = 1 of images."""
    pictures = np.stack([np.asarray(draw(scene, SIZE, FRAMES)) for scene in scenes])
    return pictures[:, None] if pictures.ndim == 4 else pictures
