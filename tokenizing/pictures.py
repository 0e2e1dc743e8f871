"""Pictures of Gaussians, one camera after another, and where to put Gaussians of any world so that cameras see them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from atoken.gaussians_atoken import Gaussians
from atoken.processing.cameras_atoken import Cameras
from atoken.rendering_atoken import render

# Rotations that make another direction z, which is up in our world.
TURNS = {
    "z": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "y": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    "-y": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
}
# A camera of `turntable_cameras` and `hammersley_cameras` is 2 away from 0 and sees 40 degrees: all of a ball around 0
# of radius 0.684, of which some is left free.
_SEEN_RADIUS = 0.95 * 2 * math.sin(math.radians(20))
# Decoded objects fill the cube [-0.5, 0.5]^3; Gaussians may lie a little outside of it.
_CUBE, _CUBE_RADIUS, _SMALLEST_SIDE = 0.55, 1.2, 0.25
# Three standard deviations from its center a Gaussian is hardly visible.
_SIGMAS = 3
# Nine tenths of what is seen lie within some radius. What lies beyond three times of it is stray.
_MOST, _STRAY = 0.9, 3.0


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


def framed(gaussians: Gaussians, up: str = "z") -> Gaussians:
    """
    Moves, scales and turns Gaussians so that `turntable_cameras` and `hammersley_cameras` see all of them, however
    large they are and however far from 0. A few stray ones far off do not count.

    Args:
        gaussians: G >= 1, of any world.
        up: the direction that is up in it, "z", "y" or "-y" (as of scenes whose cameras COLMAP has found).

    Returns:
        The same, with z up; unchanged if they fill the cube [-0.5, 0.5]^3 already, as decoded objects do.

    Raises:
        ValueError: if up is another direction.
    """
    if up not in TURNS:
        raise ValueError(f"up must be one of {', '.join(TURNS)}, got {up!r}")
    turn = None if up == "z" else torch.tensor(TURNS[up])
    gaussians = gaussians if turn is None else gaussians.transform(rotation=turn)
    means = gaussians.means.detach().double()
    reach = _SIGMAS * gaussians.scales.detach().double().amax(dim=1)  # (G,)
    weights = gaussians.opacities.detach().double()
    middle = torch.stack([_quantile(axis, weights, 0.5) for axis in means.unbind(dim=1)])
    distances = (means - middle).norm(dim=1) + reach
    most = _quantile(distances, weights, _MOST)
    in_cube = means.abs().amax() <= _CUBE and (means.amax(dim=0) - means.amin(dim=0)).amax() >= _SMALLEST_SIDE
    if in_cube and most <= _CUBE_RADIUS:
        return gaussians
    kept = distances <= _STRAY * most
    low, high = (means[kept] - reach[kept, None]).amin(dim=0), (means[kept] + reach[kept, None]).amax(dim=0)
    center = (low + high) / 2
    radius = float(((means[kept] - center).norm(dim=1) + reach[kept]).amax())
    scale = _SEEN_RADIUS / radius if radius > 0 else 1.0
    # In double precision, as large coordinates leave nothing of small differences.
    moved = gaussians.to(dtype=torch.float64).transform(translation=-center)
    return moved.transform(scale=scale).to(dtype=gaussians.dtype)


def _quantile(values: torch.Tensor, weights: torch.Tensor, share: float) -> torch.Tensor:
    """Finds the value (of (G,)) below which a share of the weights lies."""
    values, order = values.sort()
    total = weights[order].cumsum(dim=0)
    return values[torch.searchsorted(total, share * total[-1:]).clamp(max=len(values) - 1)][0]


@torch.no_grad()
def iter_pictures(gaussians: Gaussians, cameras: Cameras, look: Look) -> Iterator[np.ndarray]:
    """Renders (size, size, 3) uint8 from each camera, one after another."""
    for camera in cameras:
        picture = render(gaussians, camera, look.size, look.background, supersampling=look.supersampling)
        yield to_bytes(picture.cpu())[0]


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """Rounds (V, 3, H, W) about [0, 1] to (V, H, W, 3) uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
