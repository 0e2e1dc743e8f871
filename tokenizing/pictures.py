"""Pictures of Gaussians, one camera after another."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from atoken.gaussians_atoken import Gaussians
from atoken.processing.cameras_atoken import Cameras
from atoken.rendering_atoken import render


@dataclass(frozen=True)
class Look:
    """
    Says how Gaussians are looked at.

    Attributes:
        size: pixels of a picture's side.
        background: red, green and blue in [0, 1].
        supersampling: pictures are rendered this many times larger, then averaged.
    """

    size: int = 512
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    supersampling: int = 1


@torch.no_grad()
def iter_pictures(gaussians: Gaussians, cameras: Cameras, look: Look) -> Iterator[np.ndarray]:
    """Renders (size, size, 3) uint8 from each camera, one after another."""
    for camera in cameras:
        picture = render(gaussians, camera, look.size, look.background, supersampling=look.supersampling)
        yield to_bytes(picture.cpu())[0]


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """Rounds (V, 3, H, W) about [0, 1] to (V, H, W, 3) uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
