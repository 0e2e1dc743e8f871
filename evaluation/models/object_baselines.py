"""Voxels of one colour each: what the places of an object's tokens alone, with 24 bits of colour, would show."""

from typing import Any

import torch

from atoken.processing.cameras_atoken import Cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.views_atoken import mesh_views
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor
from atoken.training.recipes.tiny.prepared_objects import draw_cubes

from ..interface import Encoded, ObjectTokenizer

BITS = 18 + 24  # a place on the 64^3 grid, and a colour
FRAME = 768  # values of the first of the four equal frames of a voxel's patch


class FlatVoxels(ObjectTokenizer):
    """Every occupied voxel a cube in the mean colour of its patch, as it would have been encoded."""

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
