"""Prepared 3D objects: tokens' features beside pictures of the object, how well Gaussians render, and the baseline."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from atoken.processing import Cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.tokenizing.quality import psnr, ssim

RESOLUTION = 64

# Corners of the unit cube, numbered by their bits x, y, z, and its twelve triangles.
_CORNERS = np.array([[(corner >> axis) & 1 for axis in (2, 1, 0)] for corner in range(8)], dtype=np.float64)
_SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
_TRIANGLES = np.array([[a, *pair] for a, b, c, d in _SIDES for pair in ((b, c), (c, d))])


@dataclass
class PreparedObject:
    """What `python -m atoken.training.data.prepare_objects` writes for one object."""

    name: str
    features: torch.Tensor  # (N, 768) the tokenizer's decoded voxels, in [-1, 1]
    coords: torch.Tensor  # (N, 3) int64
    rgb: torch.Tensor  # (N, 768) uint8, the patches that were encoded
    images: torch.Tensor  # (K, 3, S, S) uint8, on black
    cameras: Cameras

    @classmethod
    def load(cls, path: Path) -> "PreparedObject":
        data = load_file(path)
        cameras = Cameras(data["world_to_camera"].float(), data["intrinsics"].float())
        features, coords = data["features"].float(), data["coords"].long()
        return cls(path.stem, features, coords, data["rgb"], data["images"], cameras)


def measure_views(draw: Callable[[PreparedObject], torch.Tensor], paths: list[Path]) -> dict[str, float]:
    """
    Mean PSNR and SSIM over all views of all objects, background included.

    Args:
        draw: gives the pictures of an object, (K, 3, S, S) in [0, 1], at its cameras, on black.
        paths: prepared objects.
    """
    psnrs, ssims = [], []
    for path in paths:
        item = PreparedObject.load(path)
        pictures = (draw(item).clamp(0, 1) * 255).round().to(torch.uint8)
        for picture, original in zip(pictures.split(1), item.images.split(1), strict=True):
            psnrs.append(psnr(picture, original))
            ssims.append(ssim(picture, original))
    return {
        "psnr": sum(psnrs) / len(psnrs),
        "ssim": sum(ssims) / len(ssims),
        "objects": len(paths),
        "views": len(psnrs),
    }


def flat_voxels(item: PreparedObject) -> torch.Tensor:
    """The baseline's pictures: every occupied voxel a cube in the mean colour of its patch as it was encoded."""
    colors = item.rgb.float().unflatten(1, (256, 3)).mean(1) / 255  # (N, 3)
    return draw_cubes(item.coords, colors, item.cameras, item.images.shape[-1])


def draw_cubes(coords: torch.Tensor, colors: torch.Tensor, cameras: Cameras, size: int) -> torch.Tensor:
    """
    Voxels as cubes of one colour each.

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
    return render_mesh(mesh, cameras.world_to_camera, cameras.intrinsics, size=size, supersampling=2, pixel_offset=0.5)[
        0
    ]
