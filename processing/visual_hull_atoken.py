"""From masks to voxels, where there are no depth maps: the visual hull."""

import torch

from .cameras_atoken import Cameras, project


def visual_hull(masks: torch.Tensor, cameras: Cameras, resolution: int) -> torch.Tensor:
    """Computes the surface of the largest object in [-0.5, 0.5]^3 that fits into every mask.

    A voxel is inside if its center falls on the object in every view that has it in the picture, and at least one has;
    it is on the surface if one of its six neighbors is not inside. Hollows that no outline shows are filled.

    Args:
        masks: (V, h, w) bool, True on the object.
        cameras: V cameras.
        resolution: voxels along each side.

    Returns:
        (N, 3) int64, ordered by x, y, z; none where the outlines do not meet.
    """
    centers = (torch.arange(resolution, device=masks.device, dtype=torch.float32) + 0.5) / resolution - 0.5
    inside = torch.ones(resolution**3, dtype=torch.bool, device=masks.device)
    seen = torch.zeros_like(inside)
    grid = torch.cartesian_prod(centers, centers, centers)
    sizes = torch.tensor([masks.shape[2], masks.shape[1]], device=masks.device)
    # One view at a time: all of them at once are a grid of 64^3 for each.
    for mask, camera in zip(masks, cameras, strict=True):
        uv, depth = project(grid, camera)
        pixel = (uv[0] * sizes).floor().long()  # (resolution^3, 2)
        visible = ((pixel >= 0) & (pixel < sizes)).all(dim=1) & (depth[0] > 0)
        column, row = torch.where(visible[:, None], pixel, 0).unbind(dim=1)
        inside &= mask[row, column] | ~visible
        seen |= visible
    solid = (inside & seen).view(resolution, resolution, resolution)
    padded = torch.nn.functional.pad(solid, (1, 1) * 3)
    buried = padded[2:, 1:-1, 1:-1] & padded[:-2, 1:-1, 1:-1] & padded[1:-1, 2:, 1:-1]
    buried = buried & padded[1:-1, :-2, 1:-1] & padded[1:-1, 1:-1, 2:] & padded[1:-1, 1:-1, :-2]
    return (solid & ~buried).nonzero()
