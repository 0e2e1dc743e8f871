"""Voxels of one color each: how much the places of an object's tokens alone, with 24 bits of color, would show."""

from typing import Any

import numpy as np
import torch

from atoken.processing.cameras_atoken import Cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.processing.views_atoken import mesh_views
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor

from ..interface import Encoded, ObjectTokenizer

RESOLUTION = 64
BITS = 18 + 24  # a place on the 64^3 grid, and a color
FRAME = 768  # values of the first of the four equal frames of a voxel's patch

# Corners of the unit cube, numbered by their bits x, y, z, and its twelve triangles.
_CORNERS = np.array([[(corner >> axis) & 1 for axis in (2, 1, 0)] for corner in range(8)], dtype=np.float64)
_SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
_TRIANGLES = np.array([[a, *pair] for a, b, c, d in _SIDES for pair in ((b, c), (c, d))])


class FlatVoxels(ObjectTokenizer):
    """Stores every occupied voxel as a cube in the mean color of its patch."""

    kinds = frozenset({"object"})
    name = "flat voxels"

    def __init__(self):
        self.processor = AtokenVoxelProcessor()

    def encode(self, mesh: ColoredMesh) -> Encoded:
        tokens = self.processor(**mesh_views(mesh).arguments())
        means = tokens.pixel_values[:, :FRAME].unflatten(1, (-1, 3)).mean(1)  # (N, 3)
        colors = ((means + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        coords = tokens.coords[:, 1:].contiguous()
        return Encoded((coords, colors), len(coords) * BITS, tuple(colors.shape))

    def render(self, encoded: Encoded, cameras: Cameras, size: int) -> torch.Tensor:
        coords, colors = encoded.payload
        pictures = draw_cubes(coords, colors.float() / 255, cameras, size)
        return (pictures * 255).round().clamp(0, 255).to(torch.uint8)

    def describe(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "bits_per_voxel": BITS}


def draw_cubes(coords: torch.Tensor, colors: torch.Tensor, cameras: Cameras, size: int) -> torch.Tensor:
    """
    Draws voxels as cubes of one color each.

    Args:
        coords: (N, 3) integers below `RESOLUTION`.
        colors: (N, 3) in [0, 1].

    Returns:
        (V, 3, size, size) in [0, 1], on black.
    """
    count = len(coords)
    vertices = (coords.numpy()[:, None] + _CORNERS) / RESOLUTION - 0.5  # (N, 8, 3)
    faces = np.arange(count)[:, None, None] * 8 + _TRIANGLES  # (N, 12, 3)
    mesh = ColoredMesh(
        vertices=vertices.reshape(-1, 3),
        faces=faces.reshape(-1, 3),
        corner_colors=np.broadcast_to(colors.numpy()[:, None, None], (count, 12, 3, 3)).reshape(-1, 3, 3),
        uv=np.zeros((count * 12, 3, 2), dtype=np.float32),
        texture_ids=np.full(count * 12, -1),
    )
    pictures, _ = render_mesh(
        mesh, cameras.world_to_camera, cameras.intrinsics, size=size, supersampling=2, pixel_offset=0.5
    )
    return pictures
