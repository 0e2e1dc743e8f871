"""Sentences about scenes of the miniature world, in few and plain words."""

import numpy as np

from .scenes import Scene

MEDIUM = {"image": "a picture of", "video": "a clip of", "object": "a 3D model of"}
MOTION_WORDS = {
    "left": "moving left",
    "right": "moving right",
    "up": "moving up",
    "down": "moving down",
    "still": "standing still",
    "growing": "growing",
    "shrinking": "shrinking",
    "circling": "going round",
}
POSITION_WORDS = {
    "top left": "in the top left",
    "top": "at the top",
    "top right": "in the top right",
    "left": "on the left",
    "centre": "in the centre",
    "right": "on the right",
    "bottom left": "in the bottom left",
    "bottom": "at the bottom",
    "bottom right": "in the bottom right",
}


def with_article(words: str) -> str:
    """ "orange star" -> "an orange star"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def full_caption(scene: Scene) -> str:
    """Says all that there is to say, such as "a striped red star in the top left" or "a plain blue ball"."""
    return " ".join(filter(None, (with_article(f"{scene.material} {scene.colour} {scene.shape}"), _where(scene))))


def captions(scene: Scene) -> tuple[str, ...]:
    """Lists every true sentence of the templates; the first four say everything, the others leave something out."""
    medium, where, full = MEDIUM[scene.kind], _where(scene), full_caption(scene)
    thing = with_article(f"{scene.material} {scene.colour} {scene.shape}")
    colour, shape = with_article(f"{scene.colour} {scene.shape}"), with_article(scene.shape)
    sentences = [
        full,
        f"{medium} {full}",
        f"{where} there is {thing}" if scene.position else f"there is {full}",
        " ".join(filter(None, (f"{with_article(scene.colour)} {scene.shape} that is {scene.material}", where))),
        colour,
        f"{medium} {colour}",
        shape,
        f"{medium} {shape}",
        with_article(f"{scene.material} {scene.shape}"),
        f"something {scene.colour}",
        f"{medium} something {scene.colour}",
        f"something {scene.material}",
        f"{medium} something {scene.material}",
    ]
    if where:
        sentences += [f"{shape} {where}", f"something {where}", f"{medium} something {where}"]
    return tuple(sentences)


def random_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Draws in half of the cases a sentence that says everything, else one that leaves something out."""
    sentences = captions(scene)
    low, high = (0, 4) if rng.random() < 0.5 else (4, len(sentences))
    return sentences[rng.integers(low, high)]


def _where(scene: Scene) -> str:
    if scene.motion:
        return MOTION_WORDS[scene.motion]
    return POSITION_WORDS[scene.position] if scene.position else ""


__all__ = ["MEDIUM", "MOTION_WORDS", "POSITION_WORDS", "captions", "full_caption", "random_caption", "with_article"]
