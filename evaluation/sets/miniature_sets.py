"""Sets of the miniature world for zero-shot classification and retrieval: held-out combinations only, no download."""

import hashlib
import json
from functools import partial
from typing import Any

import numpy as np
import torch

from atoken.miniature.captions import MEDIUM, MOTION_WORDS, full_caption, with_article
from atoken.miniature.pictures import LEAST_FRAMES
from atoken.miniature.scenes import (
    COLOURS,
    MATERIALS,
    MOTIONS,
    SPLITS,
    VERSION,
    Scene,
    check_choice,
    check_integer,
    is_held_out,
    random_scene,
    shapes_of,
)
from atoken.miniature.small_solids import small_solid
from atoken.miniature.solids import draw_object
from atoken.miniature.world import MiniatureWorld, check_options, draw
from atoken.processing.mesh_reading_atoken import ColoredMesh

from ..interface import KINDS, EvaluationSet, Sample

ATTRIBUTES = ("shape", "colour", "material", "motion", "colour shape")
SMALL_ANGLE, WHOLE_ANGLE = 15.0, 40.0  # of view, in degrees


def miniature_classification(
    kind: str, attribute: str = "shape", count: int = 240, seed: int = 0, size: int = 64, frames: int = 8
) -> EvaluationSet:
    """
    Draws scenes to classify zero-shot, whose pair of color and shape no training has seen.

    Args:
        kind: "image", "video" or "object".
        attribute: "shape", "colour", "material", "motion" (videos only; the pair of motion and shape is held out, too)
            or "colour shape", whose classes are the held-out pairs.
        count: how many samples; sample i is of class i modulo the number of classes.
        seed: at least 0.
        size: pixels of each side, at least 16.
        frames: length of a clip, at least 4.

    Raises:
        ValueError: an option that cannot be.
    """
    check_choice("kind", kind, KINDS)
    check_choice("attribute", attribute, ATTRIBUTES)
    if attribute == "motion" and kind != "video":
        raise ValueError(f"attribute must be another for kind {kind!r}, got 'motion'; only videos move")
    _check(count, seed, size, frames)
    classes = _classes(kind, attribute)
    names, medium = tuple(classes), MEDIUM[kind]
    before = {"shape": "a ", "colour shape": ""}.get(attribute, "something ")
    samples = []
    for index in range(count):
        label = index % len(names)
        rng = np.random.default_rng((seed, index, KINDS.index(kind), ATTRIBUTES.index(attribute)))
        scene = random_scene(kind, "held_out", rng, both_pairs=attribute == "motion", **classes[names[label]])
        samples.append(_sample(index, scene, size, frames, label))
    options = {"attribute": attribute, "count": count, "seed": seed, "size": size, "frames": frames}
    return _set(
        f"miniature-{kind}-{attribute.replace(' ', '-')}",
        kind,
        samples,
        options,
        class_names=names,
        templates=(before + "{}", f"{medium} {before}" + "{}"),
    )


def miniature_retrieval(kind: str, count: int = 60, seed: int = 0, size: int = 64, frames: int = 8) -> EvaluationSet:
    """
    Draws samples with one caption each that says everything and that no other sample of the set has.

    Args:
        kind: "image", "video" or "object".
        count: how many samples; at most 540 images, 480 videos or 60 objects, as many different captions as there are.
        seed: at least 0.
        size: pixels of each side, at least 16.
        frames: length of a clip, at least 4.

    Raises:
        ValueError: an option that cannot be.
    """
    check_choice("kind", kind, KINDS)
    _check(count, seed, size, frames)
    wheres = {"image": 9, "video": len(MOTIONS), "object": 1}[kind]
    most = len(_classes(kind, "colour shape")) * len(MATERIALS) * wheres
    if count > most:
        raise ValueError(f"count must be at most {most}, the different captions of kind {kind!r}, got {count}")
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = random_scene(kind, "held_out", rng)
        scenes.setdefault(full_caption(scene), scene)
    samples = [_sample(index, scene, size, frames) for index, scene in enumerate(scenes.values())]
    options = {"count": count, "seed": seed, "size": size, "frames": frames}
    return _set(f"miniature-{kind}-retrieval", kind, samples, options)


def miniature_captions(
    kind: str, split: str = "held_out", count: int = 240, seed: int = 0, size: int = 64, frames: int = 16
) -> EvaluationSet:
    """
    Draws scenes with the captions that say all of them, to make images or clips of, whose words can be told right.

    Args:
        kind: "image" or "video".
        split: "held_out", whose pairs of color and shape no training has seen, or "train", whose pairs were learned.
        count: how many samples.
        seed: at least 0.
        size: pixels of each side, at least 16.
        frames: length of a clip, at least 4.

    Raises:
        ValueError: an option that cannot be.
    """
    check_choice("kind", kind, ("image", "video"))
    check_choice("split", split, SPLITS)
    _check(count, seed, size, frames)
    world = MiniatureWorld(kind, split, count, seed, size, frames)
    samples = [_sample(index, world.describe(index)[0], size, frames) for index in range(count)]
    options = {"split": split, "count": count, "seed": seed, "size": size, "frames": frames}
    return _set(f"miniature-{kind}-captions", kind, samples, options)


def miniature_objects(
    split: str = "held_out", count: int = 24, seed: int = 0, small: bool = True, size: int = 128
) -> EvaluationSet:
    """
    Draws solids to make of pictures.

    Args:
        split: "held_out", whose pairs of color and shape no training has seen, or "train", whose pairs were learned.
        count: how many samples.
        seed: at least 0.
        small: three eighths of the cube and upright, as the embedded generator learns them; else whole, and turned.
        size: pixels of a side of the views in which they are compared.

    Raises:
        ValueError: an option that cannot be.
    """
    check_choice("split", split, SPLITS)
    _check(count, seed, size, LEAST_FRAMES)
    if not isinstance(small, bool):
        raise ValueError(f"small must be true or false, got {small!r}")
    world = MiniatureWorld("object", split, count, seed)
    build, samples = small_solid if small else draw_object, []
    for index in range(count):
        scene = world.describe(index)[0]
        name = f"{index:05d}"
        samples.append(Sample(name, partial(build, scene), (full_caption(scene),), shows=scene.facts()))
    options = {"split": split, "count": count, "seed": seed, "small": small, "view_size": size}
    # A smaller object is seen as large as a whole one in a smaller angle.
    angle = SMALL_ANGLE if small else WHOLE_ANGLE
    return _set("miniature-objects", "object", samples, options, view_size=size, view_angle=angle)


def _check(count: int, seed: int, size: int, frames: int) -> None:
    check_integer("count", count, 1)
    check_integer("seed", seed, 0)
    check_options(size, frames)


def _classes(kind: str, attribute: str) -> dict[str, dict[str, str]]:
    """Names the classes, as prompts word them, with the words that a scene of each has."""
    if attribute == "colour shape":
        pairs = [(color, shape) for color in COLOURS for shape in shapes_of(kind) if is_held_out(color, shape)]
        return {with_article(f"{color} {shape}"): {"colour": color, "shape": shape} for color, shape in pairs}
    if attribute == "motion":
        return {MOTION_WORDS[word]: {"motion": word} for word in MOTIONS}
    words = {"shape": shapes_of(kind), "colour": COLOURS, "material": MATERIALS}[attribute]
    return {word: {attribute: word} for word in words}


def _sample(index: int, scene: Scene, size: int, frames: int, label: int | None = None) -> Sample:
    load = partial(_load, scene, size, frames)
    return Sample(f"{index:05d}", load, (full_caption(scene),), label, scene.facts())


def _load(scene: Scene, size: int, frames: int) -> torch.Tensor | ColoredMesh:
    """Draws (1, 3, size, size) of an image, (frames, 3, size, size) of a video, or a mesh."""
    drawn = draw(scene, size, frames)
    return drawn[None] if scene.kind == "image" else drawn


def _set(name: str, kind: str, samples: list[Sample], options: dict[str, Any], **classes: Any) -> EvaluationSet:
    if kind != "video":
        options = {key: value for key, value in options.items() if key != "frames"}
    if kind == "object":
        options = {key: value for key, value in options.items() if key != "size"}
    protocol = {"source": "drawn", "split": "held_out", "version": VERSION, **options}
    facts = json.dumps({"name": name, "kind": kind, **protocol}, sort_keys=True)
    checksum = hashlib.sha256(facts.encode()).hexdigest()
    return EvaluationSet(name, kind, samples, protocol, checksum, **classes)
