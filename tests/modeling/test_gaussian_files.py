"""PLY and .splat files of Gaussians: bytes parsed independently, round trips, damaged files."""

import math
import struct

import pytest
import torch
import trimesh

from atoken import Gaussians
from atoken.gaussian_files_atoken import load_ply, load_splat, save_ply, save_splat

from .helpers import assert_close


def two() -> Gaussians:
    return Gaussians(
        torch.tensor([[0.1, 0.2, 0.3], [-0.1, 0.0, 0.4]]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]]),
        torch.tensor([[0.01, 0.01, 0.01], [0.02, 0.02, 0.02]]),
        torch.tensor([0.25, 0.5]),
        torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]]),
    )


def test_ply_round_trip_and_columns(tmp_path):
    path = tmp_path / "a.ply"
    save_ply(two(), path)
    again = load_ply(path)
    for name in ("means", "quats", "scales", "opacities", "sh0"):
        assert_close(getattr(again, name), getattr(two(), name), 1e-6)
    raw = trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]
    assert raw["opacity"][0] == pytest.approx(math.log(0.25 / 0.75))
    assert raw["scale_1"][1] == pytest.approx(math.log(0.02))
    assert raw["rot_1"][1] == pytest.approx(0.8) and raw["nx"][0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_ascii_ply_in_another_order_with_more_columns(tmp_path):
    names = "rot_0 rot_1 rot_2 rot_3 f_rest_0 opacity scale_0 scale_1 scale_2 f_dc_0 f_dc_1 f_dc_2 x y z".split()
    lines = ["ply", "format ascii 1.0", "element vertex 1", *(f"property float {n}" for n in names), "end_header"]
    (tmp_path / "a.ply").write_text("\n".join([*lines, "1 0 0 0 9 0 0 0 0 .1 .2 .3 4 5 6"]))
    gaussians = load_ply(tmp_path / "a.ply")
    assert gaussians.means.tolist() == [[4, 5, 6]] and gaussians.opacities.tolist() == [0.5]
    assert gaussians.scales.tolist() == [[1, 1, 1]]


def test_splat_bytes(tmp_path):
    save_splat(two(), tmp_path / "a.splat")
    data = (tmp_path / "a.splat").read_bytes()
    assert len(data) == 64
    first = struct.unpack("<6f8B", data[:32])  # the larger one comes first
    assert first[:6] == pytest.approx((-0.1, 0.0, 0.4, 0.02, 0.02, 0.02))
    assert first[6:] == (199, 56, 163, 128, 205, 230, 128, 128)
    assert_close(load_splat(tmp_path / "a.splat").sh0, two().sh0.flip(0), 1 / 255 / 0.28)


def test_damaged_files(tmp_path):
    save_ply(two(), tmp_path / "a.ply")
    whole = (tmp_path / "a.ply").read_bytes()
    for bad in (whole[:-5], whole[:40], b"", b"hello", whole.replace(b"opacity", b"opaqity")):
        (tmp_path / "b.ply").write_bytes(bad)
        with pytest.raises(ValueError, match="path"):
            load_ply(tmp_path / "b.ply")
    (tmp_path / "b.splat").write_bytes(bytes(33))
    with pytest.raises(ValueError, match="32 bytes"):
        load_splat(tmp_path / "b.splat")
    with pytest.raises(FileNotFoundError, match="path"):
        load_splat(tmp_path / "c.splat")
