"""How well Gaussians tell where the surface runs within their voxels: a likelihood, which needs no pictures.

Pictures of an object hardly say how a single Gaussian should move, so a decoder that sees nothing else leaves steps at
outlines and holes in faces for a long time.
"""

import torch

from atoken import Gaussians

from ...data.surface_samples import SurfaceSamples

# How far under the surface Gaussians belong, in voxels, and how opaque they are: so deep that their blurred outline is
# the object's in pictures of 256 pixels, where rendering widens a Gaussian by half a pixel.
DEPTH, OPACITY = 0.35, 0.95
COLOR_WEIGHT, OPACITY_WEIGHT = 4.0, 4.0


def inward(normals: torch.Tensor) -> torch.Tensor:
    """
    Computes the way that leads 1 under every surface of a voxel: m that is least in sum over normals n of (m n + 1)^2,
    and short. At an edge it leads away from both faces, and in a sheet that has two sides nowhere.

    Args:
        normals: (N, K, 3), of length 1 or 0.

    Returns:
        (N, 3).
    """
    square = normals.mT @ normals + torch.eye(3).to(normals)
    return -torch.linalg.solve(square, normals.sum(1))


def surface_loss(gaussians: Gaussians, coords: torch.Tensor, surface: SurfaceSamples, resolution: int) -> torch.Tensor:
    """
    Computes how unlikely points `DEPTH` under the surface are, each under the equal mixture of the Gaussians of its
    voxel, in nats per point with lengths in voxels; plus the L1 distance of colors in [0, 1], by the Gaussians' share
    in the point, and the squared distance of opacities from `OPACITY`, weighted.

    Args:
        gaussians: N times G, by voxel.
        coords: (N, 3) integers.
        surface: K points of each voxel.
        resolution: voxels along each side.
    """
    count = len(coords)
    points = surface.places.float() / 255 + DEPTH * inward(surface.normals.float() / 127)[:, None]  # (N, K, 3)
    means = ((gaussians.means + 0.5) * resolution).unflatten(0, (count, -1)) - coords[:, None]  # (N, G, 3) in the voxel
    axes = gaussians.rotations().unflatten(0, (count, -1))  # (N, G, 3, 3)
    scales = (gaussians.scales * resolution).unflatten(0, (count, -1))
    away = points[:, :, None] - means[:, None]  # (N, K, G, 3)
    away = torch.einsum("nkgi,ngij->nkgj", away, axes) / scales[:, None]
    log_density = -0.5 * away.square().sum(-1) - scales.log().sum(-1)[:, None]  # (N, K, G)
    unlikely = -log_density.logsumexp(-1)  # (N, K)
    distance = gaussians.rgb.unflatten(0, (count, -1))[:, None] - surface.rgb.float()[:, :, None] / 255
    color = (log_density.softmax(-1).detach() * distance.abs().sum(-1)).sum(-1)
    known = (surface.counts > 0)[:, None]
    of_points = ((unlikely + COLOR_WEIGHT * color) * known).sum() / (known.sum() * points.shape[1]).clamp(min=1)
    return of_points + OPACITY_WEIGHT * (gaussians.opacities - OPACITY).square().mean()
