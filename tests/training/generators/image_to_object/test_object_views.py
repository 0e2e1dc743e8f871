"""Pictures that condition generation: cameras by the formulas of TRELLIS, in float64, and alpha."""

import math

import numpy as np
import pytest
import torch
import typer

from atoken.miniature.world import MiniatureWorld
from atoken.tokenizing.condition_pictures import condition_cameras, draw_views
from atoken.training.generators.image_to_object.conditions import pictures_of
from atoken.training.generators.image_to_object.views import main


def test_cameras_see_the_ball_around_the_cube_from_their_distances():
    cameras = condition_cameras(400, torch.Generator().manual_seed(0))
    distances = cameras.positions.double().norm(dim=1)
    angles = 2 * torch.atan(0.5 / cameras.intrinsics[:, 0, 0].double())
    torch.testing.assert_close(angles, 2 * torch.asin(math.sqrt(3) / 2 / distances), rtol=1e-5, atol=0)
    degrees = torch.rad2deg(angles)
    assert degrees.min() >= 10 - 1e-3 and degrees.max() <= 70 + 1e-3
    # 1 / distance^2 is uniform between its ends, those of 10 and 70 degrees.
    low, high = ((math.sin(math.radians(angle) / 2) / (math.sqrt(3) / 2)) ** 2 for angle in (10, 70))
    places = np.sort(((distances**-2 - low) / (high - low)).numpy())
    assert abs(places - (np.arange(400) + 0.5) / 400).max() < 0.08  # Kolmogorov-Smirnov, 1 % level


def test_the_middle_is_seen_in_the_middle_and_nothing_is_cut():
    mesh = MiniatureWorld("object", length=2)[1]["sample"]
    for picture in draw_views(mesh, condition_cameras(6, torch.Generator().manual_seed(3)), 64):
        assert picture.mode == "RGBA" and picture.size == (64, 64)
        alpha = np.asarray(picture)[..., 3]
        assert set(np.unique(alpha)) == {0, 255} and alpha[32, 32] == 255 or alpha.mean() > 10
        assert not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any()
        assert not np.asarray(picture)[alpha == 0].any()


PLY = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
element face 4
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
0 0 1
3 0 2 1
3 0 1 3
3 0 3 2
3 1 2 3
"""


def test_pictures_of_a_folder_of_meshes(tmp_path, capsys):
    (tmp_path / "meshes/some").mkdir(parents=True)
    (tmp_path / "meshes/some/solid.ply").write_text(PLY)
    (tmp_path / "meshes/damaged.ply").write_text(PLY[:100])
    main(tmp_path / "meshes", tmp_path / "pictures", views=3, size=32)
    assert "damaged.ply is passed over" in capsys.readouterr().out
    found = pictures_of(tmp_path / "pictures", "some/solid.ply")
    assert len(found) == 3 and all(picture.getextrema()[3] == (0, 255) for picture in found)
    before = (tmp_path / "pictures/some/solid.ply/001.png").stat().st_mtime_ns
    main(tmp_path / "meshes", tmp_path / "pictures", views=3, size=32)
    assert (tmp_path / "pictures/some/solid.ply/001.png").stat().st_mtime_ns == before


def test_a_folder_without_meshes(tmp_path):
    with pytest.raises(typer.BadParameter, match="MESHES must hold files that end in"):
        main(tmp_path, tmp_path / "pictures")
