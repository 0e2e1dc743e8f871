"""Polygons, strips and fans to triangles."""

import numpy as np


def polygon_triangles(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits polygons into fans around their first corner; those of fewer than three corners give no triangle.

    Args:
        lengths: (P,) integers, how many corners each polygon has; the corners of all lie in one row, one after another.

    Returns:
        corners: (T, 3), places of the triangles' corners in that row.
        polygons: (T,), which polygon each triangle is part of.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    counts = (lengths - 2).clip(min=0)
    starts = np.cumsum(lengths) - lengths
    polygons = np.repeat(np.arange(len(lengths)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = starts[polygons]
    return np.stack([first, first + within + 1, first + within + 2], axis=1), polygons


def strip_triangles(indices: np.ndarray) -> np.ndarray:
    """Turns a row of vertex indices, each with its two predecessors a triangle, into triangles (T, 3).

    A negative index ends a strip, and the next one begins another.
    """
    indices = np.asarray(indices, dtype=np.int64)
    if len(indices) < 3:
        return np.empty((0, 3), dtype=np.int64)
    places = np.arange(len(indices))
    begins = np.maximum.accumulate(np.where(indices < 0, places + 1, 0))
    triangles = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1)
    # Every second triangle of a strip runs the other way around.
    odd = (places[:-2] - begins[:-2]) % 2 == 1
    triangles[odd] = triangles[odd][:, [1, 0, 2]]
    return triangles[(triangles >= 0).all(axis=1)]
