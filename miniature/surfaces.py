"""Outlines and patterns that pictures and solids of the miniature world share."""

from functools import lru_cache

import numpy as np

from .scenes import COLOURS, Scene

# Every outline is seen whole from its middle, so that a radius for each angle describes it.
_CORNERS = {
    "square": [(0.82, -0.82), (0.82, 0.82), (-0.82, 0.82), (-0.82, -0.82)],
    "triangle": [(0.98, -0.75), (0.0, 1.0), (-0.98, -0.75)],
    "diamond": [(0.62, 0.0), (0.0, 1.0), (-0.62, 0.0), (0.0, -1.0)],
    "cross": [
        *[(0.98, -0.32), (0.98, 0.32), (0.32, 0.32), (0.32, 0.98), (-0.32, 0.98), (-0.32, 0.32)],
        *[(-0.98, 0.32), (-0.98, -0.32), (-0.32, -0.32), (-0.32, -0.98), (0.32, -0.98), (0.32, -0.32)],
    ],
    "star": [
        (radius * np.sin(-np.pi * step / 5), radius * np.cos(np.pi * step / 5))
        for step in range(10)
        for radius in [0.42 if step % 2 else 1.0]
    ],
}
RING_HOLE = 0.48


@lru_cache
def outline(shape: str, points: int) -> np.ndarray:
    """Gives (K, 2) x and upward y of a flat shape, about `points` of them, anticlockwise, within 1.05 of the middle."""
    turn = np.arange(points) * (2 * np.pi / points)
    if shape == "heart":
        x = -(np.sin(turn) ** 3)
        y = (13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn) + 2.5) / 16
        return np.stack([x, y], axis=1)
    if shape in _CORNERS:
        corners = np.array(_CORNERS[shape])
        steps = np.arange(points // len(corners)) / (points // len(corners))
        sides = corners[:, None] + steps[:, None] * (np.roll(corners, -1, axis=0) - corners)[:, None]
        return sides.reshape(-1, 2)
    return 0.95 * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def base_colour(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Gives (3,) in [0, 1], the scene's color a little changed."""
    colour = np.array(COLOURS[scene.colour]) * rng.uniform(0.94, 1.04) + rng.uniform(-0.03, 0.03, size=3)
    return colour.clip(0, 1)


def surface(material: str, colour: np.ndarray, a: np.ndarray, b: np.ndarray, softness: float) -> np.ndarray:
    """
    Colours (..., 3) in [0, 1] of points of a surface.

    Args:
        material: one of `MATERIALS`; patterns are in a darker tone of the same colour, a shine is white.
        colour: (3,).
        a: (...), the points' places to the right, in units of the outline's radius.
        b: (...), upwards.
        softness: width of the transition between the tones, in the same units.
    """
    if material == "plain":
        return np.broadcast_to(colour, (*a.shape, 3))
    if material == "shiny":
        weight = np.exp(-((a + 0.33) ** 2 + (b - 0.33) ** 2) / 0.12)[..., None]
        return colour + weight * (1 - colour)
    if material == "striped":  # how deep inside a dark place, about in units of length
        depth = 0.12 - np.abs(b % 0.52 - 0.26)
    elif material == "dotted":
        depth = 0.15 - np.hypot(a % 0.5 - 0.25, b % 0.5 - 0.25)
    else:
        depth = np.sin(np.pi * a / 0.4) * np.sin(np.pi * b / 0.4) * 0.13
    weight = (0.5 + depth / softness).clip(0, 1)[..., None]
    return colour * (1 - 0.75 * weight)


__all__ = ["RING_HOLE", "base_colour", "outline", "surface"]
