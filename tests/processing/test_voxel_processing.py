"""Views to voxels: the golden object, occupancy against brute force, and a rendered sphere."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atoken.processing import AtokenVoxelProcessor, Cameras, hammersley_cameras, turntable_cameras
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.processing.voxel_processing_atoken import occupied_voxels, unproject

GOLDEN = Path(__file__).parents[1] / "golden" / "views.tensors.safetensors"


def test_golden_views():
    golden = load_file(GOLDEN)
    names = ("images", "depths", "world_to_camera", "intrinsics")
    batch = AtokenVoxelProcessor(resolution=16)(*(golden[name] for name in names))
    expected = golden["voxel_coords"].long()
    order = ((expected[:, 0] * 16 + expected[:, 1]) * 16 + expected[:, 2]).argsort()
    assert torch.equal(batch["coords"][:, 1:], expected[order])
    features = (batch["pixel_values"][:, :768] + 1) / 2
    torch.testing.assert_close(features, golden["voxel_features"][order].float(), atol=1e-3, rtol=0)
    assert not batch["pixel_values"][:, 768:].any()


def test_occupancy_is_that_of_comparing_every_point_with_every_voxel():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    points[:100] = (points[:100] * 8).round() / 8
    low = torch.cartesian_prod(*[torch.arange(8)] * 3)
    bounds = low.double() / 8 - 0.5
    inside = (points.double()[:, None] >= bounds) & (points.double()[:, None] <= bounds + 1 / 8)
    assert torch.equal(occupied_voxels(points, 8), low[inside.all(dim=2).any(dim=0)])


def test_rendered_sphere_has_its_depth(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    trimesh.creation.icosphere(5).export(tmp_path / "sphere.glb")
    cameras = hammersley_cameras(4)
    images, depths = render_mesh(
        read_mesh(tmp_path / "sphere.glb"), cameras.world_to_camera, cameras.intrinsics, size=64
    )
    assert images.shape == (4, 3, 64, 64)
    radii = unproject(depths, cameras).norm(dim=1)
    torch.testing.assert_close(radii, torch.full_like(radii, 0.5), atol=1e-3, rtol=0)


def test_cameras_look_at_the_origin_with_z_up():
    cameras = turntable_cameras(4, elevation_degrees=0)
    torch.testing.assert_close(cameras.positions[0], torch.tensor([2.0, 0, 0]))
    expected = torch.tensor([[0.0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 2], [0, 0, 0, 1]])
    torch.testing.assert_close(cameras.world_to_camera[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("culprit", "change"),
    [
        ("images", {"images": torch.zeros(1, 3, 8, 0)}),
        ("images", {"images": torch.full((1, 3, 8, 8), 2.0)}),
        ("images", {"images": torch.zeros(2, 3, 8, 8)}),
        ("depths", {"depths": torch.full((1, 8, 8), torch.nan)}),
        ("depths", {"depths": torch.full((1, 8, 8), -1.0)}),
        ("depths", {"depths": torch.full((1, 8, 8), 9.0)}),
        ("world_to_camera", {"world_to_camera": torch.eye(4)[None] * 2}),
        ("world_to_camera", {"world_to_camera": torch.eye(4)}),
        ("intrinsics", {"intrinsics": torch.zeros(1, 3, 3)}),
        ("intrinsics", {"intrinsics": torch.eye(3).expand(2, 3, 3)}),
    ],
)
def test_bad_views(culprit, change):
    camera: Cameras = turntable_cameras(1)
    views = {
        "images": torch.zeros(1, 3, 8, 8),
        "depths": torch.full((1, 8, 8), 2.0),
        "world_to_camera": camera.world_to_camera,
        "intrinsics": camera.intrinsics,
    }
    with pytest.raises(ValueError, match=f"^{culprit}"):
        AtokenVoxelProcessor()(**{**views, **change})


@pytest.mark.parametrize(
    ("culprit", "coords", "rgb"),
    [
        ("coords", torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 768)),
        ("coords", torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 768)),
        ("coords", torch.full((1, 3), 64), torch.zeros(1, 768)),
        ("coords", torch.zeros(1, 3), torch.zeros(1, 768)),
        ("rgb", torch.zeros(1, 3, dtype=torch.long), torch.full((1, 768), torch.nan)),
        ("rgb", torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3)),
    ],
)
def test_bad_voxels(culprit, coords, rgb):
    with pytest.raises(ValueError, match=f"^{culprit}"):
        AtokenVoxelProcessor().pack_voxels(coords, rgb)


def test_too_many_voxels():
    with pytest.raises(ValueError, match="^voxels must .*got 2"):
        AtokenVoxelProcessor(max_voxels=1).pack_voxels(torch.tensor([[0, 0, 0], [0, 0, 1]]), torch.zeros(2, 768))


def test_saved_processor_loads(tmp_path):
    AtokenVoxelProcessor(resolution=32).save_pretrained(tmp_path)
    assert AtokenVoxelProcessor.from_pretrained(tmp_path).resolution == 32
