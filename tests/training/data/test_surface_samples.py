"""Points of the surface by voxel: where they lie, their colors, how many, and voxels that have none of their own."""

import pytest
import torch
from torch.nn.functional import normalize

from atoken.processing import Cameras, Views, hammersley_cameras
from atoken.processing.voxel_processing_atoken import occupied_voxels, unproject
from atoken.training.data.surface_samples import surface_samples

RESOLUTION, SIZE = 8, 32


@pytest.fixture
def plane():
    """Looks straight down, from z = 2, on the plane z = 0.1, red where x is negative and blue elsewhere."""
    world_to_camera = torch.tensor([[[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 2.0], [0, 0, 0, 1.0]]])
    intrinsics = torch.tensor([[[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1.0]]])
    depths = torch.full((1, SIZE, SIZE), 1.9)
    x = (torch.arange(SIZE) / SIZE - 0.5) / 2 * 1.9
    red = (x < 0).expand(1, SIZE, SIZE)
    images = torch.stack([red, torch.zeros_like(red), ~red], 1).float()
    return Views(images, Cameras(world_to_camera, intrinsics), depths), x


def test_points_lie_on_the_surface_with_its_colors(plane):
    views, x = plane
    columns = ((x + 0.5) * RESOLUTION).floor().long().unique()
    # z = 0.1 is 4.8 of 8 voxels up.
    coords = torch.cartesian_prod(columns, columns, torch.tensor([4]))
    found = surface_samples(views, coords, RESOLUTION, 6, torch.Generator().manual_seed(0))
    assert found.places.shape == found.rgb.shape == (len(coords), 6, 3) and (found.counts == 6).all()
    assert ((found.places[..., 2].float() / 255 - 0.8).abs() <= 0.5 / 255 + 1e-5).all()
    world = (found.places.float() / 255 + coords[:, None]) / RESOLUTION - 0.5
    # Every point is where a pixel's ray goes, and of that pixel's color.
    nearest = (world[..., 0, None] - x).abs()
    assert nearest.amin(-1).max() <= 0.5 / 255 / RESOLUTION + 1e-6
    assert (found.normals == torch.tensor([0, 0, 127])).all()
    assert torch.equal(found.rgb[..., 0] == 255, x[nearest.argmin(-1)] < 0)
    assert torch.equal(found.rgb[..., 2] == 255, x[nearest.argmin(-1)] >= 0)


def test_a_voxel_with_few_points_repeats_them_and_one_without_says_so(plane):
    views, _ = plane
    depths = torch.full_like(views.depths, -1)
    depths[0, 16, 16] = depths[0, 16, 17] = 1.9  # at x of 0 and 0.03
    few = Views(views.images, views.cameras, depths)
    coords = torch.tensor([[4, 3, 4], [4, 4, 4]])
    found = surface_samples(few, coords, RESOLUTION, 5, torch.Generator().manual_seed(0))
    owner = int(found.counts.argmax())
    assert sorted(found.counts.tolist()) == [0, 2]
    assert len(found.places[owner].unique(dim=0)) == 2


def test_points_are_drawn_at_random(plane):
    views, _ = plane
    coords = torch.tensor([[4, 4, 4]])
    numbers = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    a, b, c = (surface_samples(views, coords, RESOLUTION, 4, generator).places for generator in numbers)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_real_cameras_see_points_of_every_voxel_they_fill():
    """A sphere, whose depths are known: its points are as far from the middle as they must be."""
    cameras = hammersley_cameras(4)
    size, radius = 64, 0.4
    pixels = torch.arange(size) / size
    v, u = torch.meshgrid(pixels, pixels, indexing="ij")
    depths = []
    for camera in cameras:
        focal, center = camera.intrinsics[0, [0, 1], [0, 1]], camera.intrinsics[0, :2, 2]
        rays = torch.stack([(u - center[0]) / focal[0], (v - center[1]) / focal[1], torch.ones_like(u)], -1)
        middle = camera.world_to_camera[0, :3, 3]
        a, b = rays.square().sum(-1), (rays * middle).sum(-1)
        inside = b**2 - a * (middle.square().sum() - radius**2)
        depths.append(torch.where(inside > 0, (b - inside.clamp(min=0).sqrt()) / a, -1.0))
    views = Views(torch.zeros(4, 3, size, size), cameras, torch.stack(depths).float())
    coords = occupied_voxels(unproject(views.depths, cameras), RESOLUTION)
    found = surface_samples(views, coords, RESOLUTION, 8, torch.Generator().manual_seed(0))
    world = (found.places.double() / 255 + coords[:, None]) / RESOLUTION - 0.5
    own = found.counts > 0
    assert own.float().mean() > 0.95
    assert (world[own].norm(dim=-1) - radius).abs().max() < 1 / RESOLUTION / 255 + 1e-4
    # The surface looks outward, along the way from the middle.
    normals, outward = found.normals[own].double() / 127, normalize(world[own], dim=-1)
    known = normals.norm(dim=-1) > 0.5
    assert known.float().mean() > 0.95
    agreement = (normals * outward).sum(-1)[known]
    assert float(agreement.median()) > 0.99 and float(agreement.min()) > 0.7
