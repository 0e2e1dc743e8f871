"""Points of an object's surface by voxel: where it runs within each voxel, which occupied voxels alone do not tell."""

from dataclasses import dataclass, fields

import torch
from torch.nn.functional import normalize

from atoken.processing.views_atoken import Views
from atoken.processing.voxel_processing_atoken import unproject


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """
    Holds K points of the surface in each of N voxels.

    Args:
        places: (N, K, 3) uint8, the place within the voxel along x, y, z: 0 at its lower bound, 255 at the upper one.
        normals: (N, K, 3) int8, which way the surface looks, times 127; zeros at the brink of what a view shows.
        rgb: (N, K, 3) uint8, colors there.
        counts: (N,) uint8, how many different points there are, at most K; the others repeat them. Of a voxel that has
            0, the rest means nothing: its points lie on its bounds and are counted to the next one.
    """

    places: torch.Tensor
    normals: torch.Tensor
    rgb: torch.Tensor
    counts: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> "SurfaceSamples":
        """Selects voxels."""
        return SurfaceSamples(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> "SurfaceSamples":
        """Moves all of it to a device."""
        return SurfaceSamples(*(getattr(self, field.name).to(device) for field in fields(self)))


def surface_samples(
    views: Views, coords: torch.Tensor, resolution: int, count: int, generator: torch.Generator
) -> SurfaceSamples:
    """
    Draws points at random from the surface that depth maps show.

    Args:
        views: of the object, with depths of the pictures' size.
        coords: (N, 3) integers, occupied voxels of [-0.5, 0.5]^3 ordered by x, y, z, each once.
        resolution: voxels along each side.
        count: points of each voxel, K.
        generator: chooses the points.
    """
    view, row, column = (views.depths >= 0).nonzero(as_tuple=True)
    points = unproject(views.depths, views.cameras)  # (P, 3)
    grid = points.new_full((*views.depths.shape, 3), torch.nan)
    grid[view, row, column] = points
    normals = normals_of(grid, views.cameras.positions)[view, row, column]
    colors = views.images[view, :, row, column]  # (P, 3)

    points = (points + 0.5) * resolution
    voxels = points.floor().long().clamp(0, resolution - 1)
    sides = voxels.new_tensor([resolution**2, resolution, 1])
    keys = (coords.long() * sides).sum(1)
    wanted = (voxels * sides).sum(1)
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)  # (P,) the voxel of each point
    order = torch.randperm(len(points), generator=generator)
    order = order[keys[at[order]] == wanted[order]]
    order = order[at[order].sort(stable=True).indices]  # by voxel, at random within it
    totals = torch.bincount(at[order], minlength=len(keys))
    starts = totals.cumsum(0) - totals
    # (N, K): points of a voxel in turn, again from its first one where there are less than K.
    chosen = starts[:, None] + torch.arange(count) % totals.clamp(1, count)[:, None]
    chosen = order[chosen.clamp(max=len(order) - 1)]
    places = points[chosen] - coords[:, None]
    return SurfaceSamples(
        (places * 255).round().clamp(0, 255).to(torch.uint8),
        (normals[chosen] * 127).round().to(torch.int8),
        (colors[chosen] * 255).round().to(torch.uint8),
        totals.clamp(max=count).to(torch.uint8),
    )


def normals_of(points: torch.Tensor, eyes: torch.Tensor) -> torch.Tensor:
    """
    Computes which way surfaces look, from the points that pixels show.

    Args:
        points: (V, h, w, 3), NaN where a pixel shows nothing.
        eyes: (V, 3), where the views are seen from; a surface looks to its side.

    Returns:
        (V, h, w, 3), of length 1, or zeros where neither neighbor along a side of the picture shows anything.
    """

    def step(dim: int) -> torch.Tensor:
        """Gives the way to the next pixel along a side or from the one before it, the shorter one: the other may jump
        to a surface behind."""
        ways = points.diff(dim=dim)
        gap = torch.full_like(points.narrow(dim, 0, 1), torch.nan)
        after, before = torch.cat([ways, gap], dim), torch.cat([gap, ways], dim)
        longer = ~(after.norm(dim=-1, keepdim=True) <= before.norm(dim=-1, keepdim=True).nan_to_num(torch.inf))
        return torch.where(longer, before, after)

    normals = normalize(torch.linalg.cross(step(2), step(1)), dim=-1).nan_to_num(0.0)
    toward = ((eyes[:, None, None] - points) * normals).sum(-1, keepdim=True)
    return torch.where(toward < 0, -normals, normals)
