"""Scenes by class: a color and a shape are a class, and what else there is follows from a set and a number."""

import numpy as np

from atoken.miniature.pictures import draw_image
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MATERIALS, POSITIONS, Scene

SIZE = 64  # pixels of each side
# "red circle", "red square", ...: the number of a class is 8 * color + shape.
CLASS_NAMES = tuple(f"{color} {shape}" for color in COLOURS for shape in FLAT_SHAPES)
# Sets share no scene: the generators learn of one, the judge of another, and two are compared with.
SETS = ("generators", "judge", "ceiling", "reference")


def scene_of(set_name: str, index: int) -> Scene:
    """
    Gives a scene of a set, the same in every process; classes take turns.

    Raises:
        ValueError: there is no such set.
    """
    if set_name not in SETS:
        raise ValueError(f"set_name must be one of {', '.join(SETS)}, got {set_name!r}")
    rng = np.random.default_rng((SETS.index(set_name), index))
    color, shape = divmod(index % len(CLASS_NAMES), len(FLAT_SHAPES))
    material = MATERIALS[rng.integers(len(MATERIALS))]
    position = tuple(POSITIONS)[rng.integers(len(POSITIONS))]
    jitter = int(rng.integers(2**62))
    return Scene("image", tuple(COLOURS)[color], FLAT_SHAPES[shape], material, None, position, jitter)


def label_of(index: int) -> int:
    """Gives the class of a scene, of any set."""
    return index % len(CLASS_NAMES)


def draw_scene(set_name: str, index: int) -> np.ndarray:
    """Draws a scene: (3, 64, 64) uint8 RGB."""
    return draw_image(scene_of(set_name, index), SIZE)


def draw_scenes(set_name: str, count: int) -> np.ndarray:
    """Draws the first scenes of a set: (count, 3, 64, 64) uint8 RGB."""
    return np.stack([draw_scene(set_name, index) for index in range(count)])
