"""Pictures of an object that it can be made of again, as TRELLIS draws them (Xiang et al., 2024; paper, 5.5)."""

import math

import numpy as np
import torch
from PIL import Image

from atoken.processing.cameras_atoken import Cameras, hammersley_cameras
from atoken.processing.colored_mesh_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh

_RADIUS = math.sqrt(3) / 2  # of the ball around the cube, which every camera sees whole
_ANGLES = (10.0, 70.0)  # of view, in degrees
_PLACED_AT = 2.0  # distance at which cameras are placed first


def condition_cameras(count: int, generator: torch.Generator) -> Cameras:
    """
    Places cameras around the cube [-0.5, 0.5]^3, from far with a narrow view to near with a wide one.

    Directions are a Hammersley sequence with a random offset. A distance is 1 / sqrt(k), k uniform between those of
    views of 10 and of 70 degrees; each camera sees just the ball around the cube.

    Args:
        count: V cameras.
        generator: draws offset and distances.
    """
    cameras = hammersley_cameras(count, _PLACED_AT, generator=generator)
    ends = [(math.sin(math.radians(angle) / 2) / _RADIUS) ** 2 for angle in _ANGLES]
    shares = ends[0] + (ends[1] - ends[0]) * torch.rand(count, generator=generator)
    distances = shares.rsqrt()  # (V,)
    placed, intrinsics = cameras.world_to_camera.clone(), cameras.intrinsics.clone()
    placed[:, :3, 3] *= (distances / _PLACED_AT)[:, None]
    focal = 0.5 / torch.tan(torch.asin(_RADIUS / distances))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    return Cameras(placed, intrinsics)


def draw_views(mesh: ColoredMesh, cameras: Cameras, size: int) -> list[Image.Image]:
    """
    Draws a mesh with nothing behind it.

    Args:
        mesh: in the cube [-0.5, 0.5]^3.
        cameras: V cameras.
        size: pixels of each side.

    Returns:
        V pictures in mode RGBA, whose alpha is 255 where the object is and 0 elsewhere.
    """
    images, depths = render_mesh(mesh, cameras.world_to_camera, cameras.intrinsics, size=size, pixel_offset=0.5)
    values = torch.cat([images, (depths >= 0).float()[:, None]], dim=1)  # (V, 4, size, size)
    pixels = (values * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.ascontiguousarray(each)) for each in pixels]
