"""Solids of the miniature world as coloured meshes."""

from functools import lru_cache

import numpy as np

from atoken.processing.mesh_reading_atoken import ColoredMesh

from .scenes import Scene, check_choice
from .surfaces import base_colour, outline, surface

_AROUND = 120
_ALONG = 48
_LIGHT = np.array([0.48, -0.6, 0.64])
# Which flat shape's outline a solid has around its axis, and what is swept along it; the last four stand upright.
_SWEPT = {
    "ball": ("circle", "half circle"),
    "cube": ("square", "thick"),
    "cone": ("circle", "slope"),
    "diamond": ("square", "two slopes"),
    "ring": ("circle", "whole circle"),
    "star": ("star", "slab"),
    "cross": ("cross", "slab"),
    "heart": ("heart", "slab"),
}


def draw_object(scene: Scene, turned: bool = True) -> ColoredMesh:
    """
    Make the mesh of a scene of an object: turned about the vertical axis z, leant a little, slightly stretched.

    Args:
        scene: of kind "object".
        turned: False to leave out the turn, so that all solids of a shape face the same way.

    Returns:
        A closed mesh of some ten thousand triangles, its longest side 1 and its middle at 0.

    Raises:
        ValueError: a scene of another kind.
    """
    check_choice("scene.kind", scene.kind, ("object",))
    rng = np.random.default_rng(scene.jitter)
    colour = base_colour(scene, rng)
    vertices, faces = solid(scene.shape)
    corners = vertices[faces]  # (F, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Each face shows the pattern as seen along the axis that it faces most, so flat sides show it undistorted.
    kept = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(normals).argmax(axis=1)]  # (F, 2)
    places = np.take_along_axis(corners, kept[:, None, :].repeat(3, axis=1), axis=2)  # (F, 3, 2)
    if scene.material == "shiny":
        # Mirrored, so that the highlights of neighbouring faces fit together where the axis changes; there are
        # several in view, so they are smaller than that of a picture.
        places = 1.5 * np.abs(places) * (-1, 1)
    colors = surface(scene.material, colour, places[..., 0], places[..., 1], softness=0.03)
    # A little shade goes into the colours: nothing lights an object, and a plain one would be a mere silhouette.
    facing = (normals @ _LIGHT) / np.linalg.norm(normals, axis=1)
    colors = colors * (0.91 + 0.09 * facing)[:, None, None]
    turn, lean = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2)
    turn *= turned  # drawn in any case, so that all else stays the same
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
    vertices = (vertices * rng.uniform(0.92, 1.08, size=3)) @ (about_z @ about_x).T
    count = len(faces)
    mesh = ColoredMesh(
        vertices,
        faces,
        np.ascontiguousarray(colors.clip(0, 1), dtype=np.float32),
        np.zeros((count, 3, 2), dtype=np.float32),
        np.full(count, -1, dtype=np.int64),
    )
    return mesh.normalized()


@lru_cache
def solid(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3), anticlockwise as seen from outside, about within 1 of the middle."""
    around, along = _SWEPT[shape]
    edge, profile = outline(around, _AROUND), _profile(along)
    closed = along == "whole circle"
    flat = profile[:, None, :1] * edge[None]  # (P, K, 2)
    height = np.broadcast_to(profile[:, None, 1:], (*flat.shape[:2], 1))
    vertices = np.concatenate([flat, height], axis=2).reshape(-1, 3)
    if along in ("slab", "whole circle"):
        vertices = vertices[:, [0, 2, 1]] * (1, -1, 1)
    rows = np.arange(len(profile) - (not closed))[:, None]
    below, above = rows * len(edge), (rows + 1) % len(profile) * len(edge)
    here = np.arange(len(edge))
    following = (here + 1) % len(edge)
    quads = np.stack(np.broadcast_arrays(below + here, below + following, above + following, above + here), axis=-1)
    faces = quads.reshape(-1, 4)[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    corners = vertices[faces]
    # Where a profile meets the axis, one triangle of each quadrilateral has no area.
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return vertices, faces[area > 1e-9]


def _profile(name: str) -> np.ndarray:
    """(P, 2) distances from the axis and heights; they go up on the outside."""
    if name == "whole circle":
        turn = np.arange(_ALONG) * (2 * np.pi / _ALONG)
        return np.stack([0.74 + 0.26 * np.cos(turn), 0.26 * np.sin(turn)], axis=1)
    if name == "half circle":
        turn = np.linspace(-np.pi / 2, np.pi / 2, _ALONG)
        radii = np.cos(turn)
        radii[[0, -1]] = 0
        return np.stack([radii, 0.95 * np.sin(turn)], axis=1)  # the outline's radius is 0.95
    corners = {
        "thick": [(0, -0.82), (1, -0.82), (1, 0.82), (0, 0.82)],
        "slab": [(0, -0.3), (1, -0.3), (1, 0.3), (0, 0.3)],
        "slope": [(0, -0.9), (1, -0.9), (0, 0.9)],
        "two slopes": [(0, -1.1), (0.85, 0), (0, 1.1)],
    }[name]
    corners = np.array(corners, dtype=np.float64)
    lengths = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
    steps = np.union1d(np.linspace(0, lengths[-1], _ALONG), lengths)
    return np.stack([np.interp(steps, lengths, corners[:, axis]) for axis in range(2)], axis=1)


__all__ = ["draw_object"]
