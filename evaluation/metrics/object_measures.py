"""How near a generated object is to the true one: its structure, its looks from all sides, and its color."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from atoken import Gaussians, render
from atoken.processing.cameras_atoken import Cameras
from atoken.tokenizing.quality import psnr

OPAQUE = 0.5  # share of opacity from which a pixel shows the object


@dataclass(frozen=True)
class TrueObject:
    """
    Holds what a generated object is compared with.

    Attributes:
        coords: (N, 3) int64 [x, y, z], its voxels.
        views: (V, 3, S, S) uint8 on black, at the cameras.
        cameras: V cameras.
        picture: RGBA, what the object is generated of.
        picture_camera: its camera.
    """

    coords: torch.Tensor
    views: torch.Tensor
    cameras: Cameras
    picture: Image.Image
    picture_camera: Cameras


def structure_iou(coords: torch.Tensor, others: torch.Tensor, resolution: int) -> float:
    """Gives the share of voxels (N, 3) and (M, 3) that both have, of those that either has."""
    keys, other_keys = (((each[:, 0] * resolution + each[:, 1]) * resolution + each[:, 2]) for each in (coords, others))
    both = int(torch.isin(keys, other_keys).sum())
    return both / (len(keys) + len(other_keys) - both)


def drawn_views(gaussians: Gaussians, cameras: Cameras, size: int) -> torch.Tensor:
    """Draws Gaussians on black: (V, 3, size, size) uint8 on the CPU."""
    drawn = render(gaussians, cameras, size).clamp(0, 1)
    return (drawn * 255).round().to(torch.uint8).cpu()


def mean_psnr(views: torch.Tensor, others: torch.Tensor) -> float:
    """Gives the mean PSNR of views (V, 3, S, S) uint8 against others, background included, in dB."""
    return float(np.mean([psnr(one, other) for one, other in zip(views.split(1), others.split(1), strict=True)]))


def views_psnr(gaussians: Gaussians, true: TrueObject) -> float:
    """Gives the mean PSNR of Gaussians against an object's views, background included, in dB."""
    return mean_psnr(drawn_views(gaussians, true.cameras, true.views.shape[-1]), true.views)


def color_error(gaussians: Gaussians, true: TrueObject) -> float:
    """
    Gives how far the mean color of Gaussians is from that of the picture, as a mean over red, green and blue in gray
    levels. They are seen from where the picture was taken; only pixels that show the object count in either.
    """
    size = true.picture.size[0] // 2
    on_black, on_white = (
        render(gaussians, true.picture_camera, size, (value,) * 3)[0].float().cpu() for value in (0.0, 1.0)
    )
    opacity = 1 - (on_white - on_black).mean(0)  # (S, S)
    shown = opacity > OPAQUE
    if not shown.any():
        return 255.0
    found = 255 * (on_black[:, shown] / opacity[shown]).clamp(0, 1).mean(1)  # (3,)
    pixels = torch.from_numpy(np.array(true.picture)).float()  # (H, W, 4)
    expected = pixels[pixels[..., 3] > 255 * OPAQUE][:, :3].mean(0)
    return float((found - expected).abs().mean())


def measured(coords: torch.Tensor, gaussians: Gaussians, true: TrueObject, resolution: int) -> dict[str, float]:
    """
    Measures one object.

    Args:
        coords: (N, 3) its voxels.
        gaussians: what they are decoded to.
        true: the object that it should be.
        resolution: voxels along a side of the grid.

    Returns:
        "iou" in [0, 1], "psnr" in dB, "color" in gray levels.
    """
    with torch.no_grad():
        return {
            "iou": structure_iou(coords.cpu(), true.coords, resolution),
            "psnr": views_psnr(gaussians, true),
            "color": color_error(gaussians, true),
        }


def measured_nothing(true: TrueObject) -> dict[str, float]:
    """Measures an object that has no voxel: black from all sides, and the largest error of color."""
    return {"iou": 0.0, "psnr": mean_psnr(torch.zeros_like(true.views), true.views), "color": 255.0}


def mean_of(each: list[dict[str, float]]) -> dict[str, float]:
    """Gives the means of measures over objects."""
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}
