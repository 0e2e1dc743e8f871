"""The parts of the miniature world: its words, one scene of it, and which combinations training never sees."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Goes into the checksums of evaluation sets: raise it whenever a seed would give other samples or captions.
VERSION = 1

KINDS = ("image", "video", "object")
SPLITS = ("train", "held_out")
COLOURS = {  # red, green, blue in [0, 1]
    "red": (0.88, 0.12, 0.12),
    "orange": (1.0, 0.55, 0.05),
    "yellow": (0.98, 0.90, 0.15),
    "green": (0.10, 0.68, 0.20),
    "blue": (0.12, 0.32, 0.90),
    "purple": (0.52, 0.14, 0.72),
    "pink": (1.0, 0.55, 0.78),
    "brown": (0.50, 0.28, 0.11),
}
# The solid at a place corresponds to the flat shape at the same place.
FLAT_SHAPES = ("circle", "square", "triangle", "ring", "star", "cross", "heart", "diamond")
SOLID_SHAPES = ("ball", "cube", "cone", "ring", "star", "cross", "heart", "diamond")
MATERIALS = ("plain", "striped", "dotted", "checkered", "shiny")
MOTIONS = ("left", "right", "up", "down", "still", "growing", "shrinking", "circling")
# Column and row, from -1 (left, top) to 1 (right, bottom).
POSITIONS = {
    "top left": (-1, -1),
    "top": (0, -1),
    "top right": (1, -1),
    "left": (-1, 0),
    "centre": (0, 0),
    "right": (1, 0),
    "bottom left": (-1, 1),
    "bottom": (0, 1),
    "bottom right": (1, 1),
}


def shapes_of(kind: str) -> tuple[str, ...]:
    """Lists the eight shapes of a kind: solids of objects, flat shapes of images and videos."""
    return SOLID_SHAPES if kind == "object" else FLAT_SHAPES


@dataclass(frozen=True)
class Scene:
    """
    Describes one thing in front of a muted background; an object has no background.

    Attributes:
        kind: "image", "video" or "object".
        colour: one of `COLOURS`.
        shape: one of `shapes_of(kind)`.
        material: one of `MATERIALS`.
        motion: one of `MOTIONS` for a video, else None.
        position: one of `POSITIONS` for an image, else None.
        jitter: seed, at least 0, of what no caption mentions: background, size, exact place, tilt, a slight hue.

    Raises:
        ValueError: a word or a seed that cannot be.
    """

    kind: str
    colour: str
    shape: str
    material: str
    motion: str | None = None
    position: str | None = None
    jitter: int = 0

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)
        check_choice("colour", self.colour, COLOURS)
        check_choice("shape", self.shape, shapes_of(self.kind))
        check_choice("material", self.material, MATERIALS)
        check_choice("motion", self.motion, MOTIONS if self.kind == "video" else (None,))
        check_choice("position", self.position, POSITIONS if self.kind == "image" else (None,))
        check_integer("jitter", self.jitter, 0)

    def facts(self) -> dict[str, str]:
        """Gives the attributes that this kind has, in words."""
        names = ("kind", "colour", "shape", "material", "motion", "position")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def is_held_out(colour: str, shape: str, motion: str | None = None) -> bool:
    """
    Tells whether training never sees such a combination.

    12 of the 64 pairs of colour and shape are held out, and 12 of the 64 pairs of motion and shape; every word has at
    least six partners left. Materials and positions are free. A solid has the rule of the flat shape it corresponds to.

    Args:
        colour: one of `COLOURS`.
        shape: one of `FLAT_SHAPES` or `SOLID_SHAPES`.
        motion: one of `MOTIONS`, or None.

    Raises:
        ValueError: an unknown word.
    """
    return is_pair_held_out(colour, shape) or (motion is not None and is_pair_held_out(motion, shape))


def is_pair_held_out(word: str, shape: str) -> bool:
    """Decides for one pair; `word` is a color or a motion."""
    check_choice("shape", shape, tuple(dict.fromkeys(FLAT_SHAPES + SOLID_SHAPES)))
    words = tuple(COLOURS) if word in COLOURS else MOTIONS
    check_choice("word", word, tuple(COLOURS) + MOTIONS)
    row = (FLAT_SHAPES if shape in FLAT_SHAPES else SOLID_SHAPES).index(shape)
    # 3 and 8 have no common factor, so each remainder stands once in every row and every column.
    remainder = (3 * row + words.index(word)) % 8
    return remainder == 0 or (remainder == 4 and row % 2 == 0)


def random_scene(
    kind: str, split: str, rng: np.random.Generator, both_pairs: bool = False, **fixed: str | None
) -> Scene:
    """
    Draw a scene; combinations of colour, shape and motion that the split allows are equally likely.

    Args:
        kind: "image", "video" or "object".
        split: "train" has no pair that is held out; in "held_out" the pair of colour and shape is, any motion.
        rng: where randomness comes from.
        both_pairs: of held-out videos, the pair of motion and shape has to be held out, too.
        fixed: attributes that are given, such as `shape="star"`.

    Raises:
        ValueError: an unknown word, or no combination that the split allows.
    """
    check_choice("kind", kind, KINDS)
    check_choice("split", split, SPLITS)
    motions = MOTIONS if kind == "video" else (None,)
    positions = tuple(POSITIONS) if kind == "image" else (None,)
    choices = {
        "colour": tuple(COLOURS),
        "shape": shapes_of(kind),
        "motion": motions,
        "material": MATERIALS,
        "position": positions,
    }
    for name, value in fixed.items():
        check_choice("fixed", name, choices)
        check_choice(name, value, choices[name])
        choices[name] = (value,)

    combinations = _combinations(split, both_pairs, choices["colour"], choices["shape"], choices["motion"])
    if not combinations:
        raise ValueError(f"fixed must be words of which the split {split!r} has a combination, got {fixed}.")
    colour, shape, motion = combinations[rng.integers(len(combinations))]
    material = choices["material"][rng.integers(len(choices["material"]))]
    position = choices["position"][rng.integers(len(choices["position"]))]
    return Scene(kind, colour, shape, material, motion, position, int(rng.integers(2**62)))


@lru_cache(maxsize=256)
def _combinations(
    split: str, both_pairs: bool, colours: tuple[str, ...], shapes: tuple[str, ...], motions: tuple[str | None, ...]
) -> list[tuple[str, str, str | None]]:
    """The (colour, shape, motion) of these words that a split allows."""

    def allowed(colour: str, shape: str, motion: str | None) -> bool:
        if split == "train":
            return not is_held_out(colour, shape, motion)
        moves = motion is None or not both_pairs or is_pair_held_out(motion, shape)
        return is_pair_held_out(colour, shape) and moves

    every = ((colour, shape, motion) for colour in colours for shape in shapes for motion in motions)
    return [combination for combination in every if allowed(*combination)]


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises a ValueError that names the argument unless `value` is among `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_integer(name: str, value: object, least: int) -> None:
    """Raises a ValueError that names the argument unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")


__all__ = [
    "COLOURS",
    "FLAT_SHAPES",
    "KINDS",
    "MATERIALS",
    "MOTIONS",
    "POSITIONS",
    "SOLID_SHAPES",
    "SPLITS",
    "VERSION",
    "Scene",
    "check_choice",
    "check_integer",
    "is_held_out",
    "is_pair_held_out",
    "random_scene",
    "shapes_of",
]
