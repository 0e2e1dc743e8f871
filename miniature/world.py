"""An unlimited captioned world of small images, clips and solids, drawn from a seed; some combinations are held out."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from atoken.processing.mesh_reading_atoken import ColoredMesh

from .captions import random_caption
from .pictures import LEAST_FRAMES, LEAST_SIZE, draw_clip, draw_image
from .scenes import KINDS, SPLITS, VERSION, Scene, check_choice, check_integer, is_held_out, random_scene
from .solids import draw_object


def draw(scene: Scene, size: int = 64, frames: int = 8) -> torch.Tensor | ColoredMesh:
    """
    Draw a scene.

    Returns:
        uint8 RGB, (3, size, size) of an image and (frames, 3, size, size) of a video; of an object its mesh with the
        longest side 1 and the middle at 0.

    Raises:
        ValueError: a number that cannot be.
    """
    check_options(size, frames)
    if scene.kind == "object":
        return draw_object(scene)
    return torch.from_numpy(draw_image(scene, size) if scene.kind == "image" else draw_clip(scene, size, frames))


def check_options(size: int, frames: int) -> None:
    """Raises a ValueError for pictures smaller than 16 pixels or clips of fewer than 4 frames."""
    check_integer("size", size, LEAST_SIZE)
    check_integer("frames", frames, LEAST_FRAMES)


class MiniatureWorld(Dataset):
    """
    Draws samples with captions; sample i of a seed is the same in every process and order.

    An item has `sample` (what `draw` returns), `caption` (a sentence that is true of it; half of them leave something
    out) and `scene` (its words: kind, colour, shape, material and, where there are such, motion and position).

    Args:
        kind: "image", "video" or "object".
        split: "train", without any combination that `is_held_out`, or "held_out", only those of colour and shape.
        length: how many samples.
        seed: at least 0.
        size: pixels of each side, at least 16.
        frames: of a clip, at least 4.

    Raises:
        ValueError: an argument that cannot be.
    """

    def __init__(
        self, kind: str, split: str = "train", length: int = 10000, seed: int = 0, size: int = 64, frames: int = 8
    ):
        check_choice("kind", kind, KINDS)
        check_choice("split", split, SPLITS)
        check_integer("length", length, 1)
        check_integer("seed", seed, 0)
        check_options(size, frames)
        self.kind, self.split, self.length, self.seed = kind, split, length, seed
        self.size, self.frames = size, frames

    def __len__(self) -> int:
        return self.length

    def describe(self, index: int) -> tuple[Scene, str]:
        """Gives the scene and the caption of a sample, without drawing it; `IndexError` outside of the length."""
        if not 0 <= index < self.length:
            raise IndexError(f"index must be below {self.length}, the number of samples, got {index}.")
        rng = np.random.default_rng((self.seed, int(index), KINDS.index(self.kind), SPLITS.index(self.split)))
        scene = random_scene(self.kind, self.split, rng)
        return scene, random_caption(scene, rng)

    def __getitem__(self, index: int) -> dict[str, Any]:
        scene, caption = self.describe(index)
        return {"sample": draw(scene, self.size, self.frames), "caption": caption, "scene": scene.facts()}


__all__ = ["VERSION", "MiniatureWorld", "Scene", "check_options", "draw", "is_held_out"]
