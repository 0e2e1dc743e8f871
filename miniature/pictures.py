"""Images and clips of scenes of the miniature world."""

from functools import lru_cache

import numpy as np

from .scenes import POSITIONS, Scene, check_choice, check_integer
from .surfaces import RING_HOLE, base_colour, outline, surface

LEAST_SIZE = 16
LEAST_FRAMES = 4
_SUPERSAMPLING = 3
_ANGLES = 2048


def draw_image(scene: Scene, size: int = 64) -> np.ndarray:
    """
    Draw a scene of an image.

    Args:
        scene: of kind "image".
        size: pixels of each side, at least 16.

    Returns:
        (3, size, size) uint8 RGB.

    Raises:
        ValueError: another kind, or a size that cannot be.
    """
    check_choice("scene.kind", scene.kind, ("image",))
    check_integer("size", size, LEAST_SIZE)
    rng = np.random.default_rng(scene.jitter)
    colour, tilt = base_colour(scene, rng), rng.uniform(-0.2, 0.2)
    radius = rng.uniform(0.17, 0.22)
    place = 0.5 + 0.26 * np.array(POSITIONS[scene.position]) + rng.uniform(-0.03, 0.03, size=2)
    canvas = _background(rng, size)
    _paint(canvas, scene, colour, tilt, place, radius)
    return _to_bytes(canvas)


def draw_clip(scene: Scene, size: int = 64, frames: int = 8) -> np.ndarray:
    """
    Draw a scene of a video; its background stands still.

    Args:
        scene: of kind "video".
        size: pixels of each side, at least 16.
        frames: how many, at least 4; the motion fills them, however many they are.

    Returns:
        (frames, 3, size, size) uint8 RGB.

    Raises:
        ValueError: another kind, or a number that cannot be.
    """
    check_choice("scene.kind", scene.kind, ("video",))
    check_integer("size", size, LEAST_SIZE)
    check_integer("frames", frames, LEAST_FRAMES)
    rng = np.random.default_rng(scene.jitter)
    colour, tilt = base_colour(scene, rng), rng.uniform(-0.2, 0.2)
    places, radii = _path(scene.motion, rng, frames)
    background = _background(rng, size)
    clip = np.empty((frames, 3, size, size), dtype=np.uint8)
    for frame, (place, radius) in enumerate(zip(places, radii, strict=True)):
        canvas = background.copy()
        _paint(canvas, scene, colour, tilt, place, radius)
        clip[frame] = _to_bytes(canvas)
    return clip


def _path(motion: str, rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (frames, 2), x to the right and y down, and radii (frames,), in units of the picture's side."""
    time = np.linspace(0, 1, frames)
    places = np.tile(0.5 + rng.uniform(-0.05, 0.05, size=2), (frames, 1))
    radii = np.full(frames, rng.uniform(0.16, 0.21))
    amount, phase = rng.uniform(0.85, 1.05), rng.uniform(0, 2 * np.pi)
    directions = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    if motion in directions:
        places = places + np.outer(0.22 * amount * (2 * time - 1), directions[motion])
    elif motion == "circling":
        # Not quite once round, so that the last frame is not the first again.
        turn = phase + 2 * np.pi * 0.9 * time
        places = places + 0.2 * amount * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    elif motion in ("growing", "shrinking"):
        radii = amount * (0.11 + 0.19 * (time if motion == "growing" else 1 - time))
    return places, radii


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float32 in [0, 1]: a gradient between two muted colours, soft waves and a little noise."""
    levels = rng.uniform(0.3, 0.8, size=(2, 1)) + rng.uniform(-0.05, 0.05, size=(2, 3))
    direction = rng.uniform(0, 2 * np.pi)
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    along = 0.5 + 0.7 * (steps * np.cos(direction) + (steps * np.sin(direction))[:, None])
    canvas = levels[0] + along[..., None] * (levels[1] - levels[0])
    for frequency_x, frequency_y, phase in rng.uniform((-18, -18, 0), (18, 18, 2 * np.pi), size=(3, 3)):
        canvas += 0.025 * np.sin(frequency_x * steps + (frequency_y * steps)[:, None] + phase)[..., None]
    noise = rng.standard_normal((size, size, 1), dtype=np.float32)
    return (canvas + 0.015 * noise).astype(np.float32).clip(0, 1)


@lru_cache
def _radii(shape: str) -> np.ndarray:
    """(2048,) float32, how far the outline is from the middle at angles from -pi to pi."""
    points = outline(shape, 600)
    angles = (np.arange(_ANGLES) + 0.5) * (2 * np.pi / _ANGLES) - np.pi
    radii = np.hypot(points[:, 0], points[:, 1])
    return np.interp(angles, np.arctan2(points[:, 1], points[:, 0]), radii, period=2 * np.pi).astype(np.float32)


def _paint(canvas: np.ndarray, scene: Scene, colour: np.ndarray, tilt: float, place: np.ndarray, radius: float) -> None:
    """Put the shape on a canvas (size, size, 3) in [0, 1], with soft edges; only the part around it is touched."""
    size = len(canvas)
    low = np.floor((place - 1.1 * radius) * size).astype(int).clip(0, size)
    high = np.ceil((place + 1.1 * radius) * size).astype(int).clip(0, size)
    x, y = (
        ((np.arange(first * _SUPERSAMPLING, last * _SUPERSAMPLING) + 0.5) / (size * _SUPERSAMPLING) - middle) / radius
        for first, last, middle in zip(low, high, place, strict=True)
    )
    x, y = x.astype(np.float32), -y[:, None].astype(np.float32)
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    a, b = x * cosine + y * sine, y * cosine - x * sine  # (rows, columns) in the shape's own frame, b upwards
    angle = ((np.arctan2(b, a) + np.float32(np.pi)) * np.float32(_ANGLES / (2 * np.pi))).astype(np.int64)
    distance = np.hypot(a, b)
    inside = distance < _radii(scene.shape)[np.minimum(angle, _ANGLES - 1)]
    if scene.shape == "ring":
        inside &= distance > RING_HOLE
    painted = surface(scene.material, colour.astype(np.float32), a, b, softness=0.02)
    layers = np.concatenate([painted * inside[..., None], inside[..., None]], axis=2, dtype=np.float32)
    rows, columns = high[1] - low[1], high[0] - low[0]
    layers = layers.reshape(rows, _SUPERSAMPLING, columns, _SUPERSAMPLING, 4).mean(axis=(1, 3))
    part = canvas[low[1] : high[1], low[0] : high[0]]
    part *= 1 - layers[..., 3:]
    part += layers[..., :3]


def _to_bytes(canvas: np.ndarray) -> np.ndarray:
    """(size, size, 3) in [0, 1] -> (3, size, size) uint8."""
    return np.ascontiguousarray((canvas * 255).round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


__all__ = ["LEAST_FRAMES", "LEAST_SIZE", "draw_clip", "draw_image"]
