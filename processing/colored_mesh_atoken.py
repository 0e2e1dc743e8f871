"""Triangles with colors and textures, as mesh files are read to and pictures of meshes are made from."""

from dataclasses import dataclass, replace

import numpy as np

# What faces show of which nothing says a color, as an sRGB value.
GRAY = 0.6
WRAPS = ("repeat", "mirror", "clamp")


class MeshError(ValueError):
    """Says what is the matter with a mesh or its file, in words meant for whoever passed it."""


@dataclass(frozen=True, eq=False)
class ColoredMesh:
    """
    Triangles with what is needed to look up their color.

    The color at a point of a face is that of its corners, interpolated, times that of the face's texture there. In
    glTF the colors of corners are amounts of linear light: the product is then taken in linear light, and encoded.

    Args:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, indices of vertices.
        corner_colors: (F, 3, 3) float32 in [0, 1], red, green and blue at the corners of each face.
        uv: (F, 3, 2) float32, texture coordinates of the corners, v upwards.
        texture_ids: (F,) int64, which of `textures` a face shows; -1 for none.
        textures: arrays (H, W, 3) float32 in [0, 1], sRGB values, the top row first.
        wraps: how each texture goes on outside [0, 1], along u and along v: "repeat", "mirror" (every second copy is
            mirrored) or "clamp" (the color of the edge). If empty, all repeat.
        linear_colors: whether `corner_colors` are linear light, not sRGB values.

    Raises:
        ValueError: the arrays do not fit together, or describe no solid object.
    """

    vertices: np.ndarray
    faces: np.ndarray
    corner_colors: np.ndarray
    uv: np.ndarray
    texture_ids: np.ndarray
    textures: tuple[np.ndarray, ...] = ()
    wraps: tuple[tuple[str, str], ...] = ()
    linear_colors: bool = False

    def __post_init__(self):
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3 or not len(self.vertices):
            raise MeshError(f"vertices must be (V, 3), V at least 1, got shape {self.vertices.shape}.")
        if not np.isfinite(self.vertices).all():
            raise MeshError("vertices must be finite, got NaN or infinite values.")
        count = len(self.faces)
        if self.faces.shape != (count, 3) or not count:
            raise MeshError(f"faces must be (F, 3), F at least 1, got shape {self.faces.shape}.")
        if self.faces.dtype.kind not in "iu":
            raise MeshError(f"faces must be integers, got {self.faces.dtype}.")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise MeshError(
                f"faces must be 0 to {len(self.vertices) - 1}, the rows of vertices, got indices from "
                f"{self.faces.min()} to {self.faces.max()}."
            )
        for name, shape in (("corner_colors", (count, 3, 3)), ("uv", (count, 3, 2)), ("texture_ids", (count,))):
            value = getattr(self, name)
            if value.shape != shape:
                raise MeshError(f"{name} must be {shape}, got shape {value.shape}.")
            if not np.isfinite(value).all():
                raise MeshError(f"{name} must be finite, got NaN or infinite values.")
        if self.texture_ids.min() < -1 or self.texture_ids.max() >= len(self.textures):
            raise MeshError(
                f"texture_ids must be -1 to {len(self.textures) - 1}, indices of textures, got values from "
                f"{self.texture_ids.min()} to {self.texture_ids.max()}."
            )
        if self.wraps and (
            len(self.wraps) != len(self.textures) or any(way not in WRAPS for pair in self.wraps for way in pair)
        ):
            raise MeshError(f"wraps must be pairs of {', '.join(WRAPS)}, one for each texture, got {self.wraps}.")

    def normalized(self) -> "ColoredMesh":
        """Moves the middle of the mesh to 0 and scales its longest side to 1; `ValueError` if it has no size."""
        used = self.vertices[np.unique(self.faces)]
        low, high = used.min(axis=0), used.max(axis=0)
        longest = (high - low).max()
        if not longest > 0:
            raise MeshError("vertices must have an extent, got an object whose vertices all lie in one point.")
        return replace(self, vertices=(self.vertices - (low + high) / 2) / longest)
