"""PLY and .splat files of Gaussians: bytes parsed independently, round trips, damaged files."""

import math
import struct

import numpy as np
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


def test_ply_bytes_are_those_that_viewers_read(tmp_path):
    """The properties of the 3D Gaussian splatting release, without view-dependent color, in its order."""
    save_ply(two(), tmp_path / "a.ply")
    columns = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    header = ["ply", "format binary_little_endian 1.0", "element vertex 2", *(f"property float {c}" for c in columns)]
    expected_header = "\n".join([*header, "end_header", ""]).encode()
    data = (tmp_path / "a.ply").read_bytes()
    assert data[: len(expected_header)] == expected_header and len(data) == len(expected_header) + 2 * 17 * 4
    small, large = math.log(0.01), math.log(0.02)
    first = (0.1, 0.2, 0.3, 0, 0, 0, 0, 0, 0, math.log(0.25 / 0.75), small, small, small, 1, 0, 0, 0)
    second = (-0.1, 0, 0.4, 0, 0, 0, 1, -1, 0.5, 0, large, large, large, 0.6, 0.8, 0, 0)
    values = struct.unpack("<34f", data[len(expected_header) :])
    assert values == pytest.approx(first + second, abs=1e-6)


def test_extremes_stay_finite(tmp_path):
    extreme = Gaussians(
        torch.zeros(2, 3), torch.ones(2, 4), torch.zeros(2, 3), torch.tensor([0.0, 1.0]), torch.full((2, 3), 9.0)
    )
    save_ply(extreme.to(dtype=torch.bfloat16), tmp_path / "a.ply")
    again = load_ply(tmp_path / "a.ply")
    assert_close(again.opacities, extreme.opacities, 2e-6)
    assert_close(again.scales, extreme.scales, 2e-6)


@pytest.mark.parametrize(("save", "load"), [(save_ply, load_ply), (save_splat, load_splat)])
def test_no_gaussians_and_places_that_cannot_be_written(tmp_path, save, load):
    save(two()[:0], tmp_path / "none")
    assert len(load(tmp_path / "none")) == 0
    with pytest.raises(FileNotFoundError, match="path: no folder .*missing"):
        save(two(), tmp_path / "missing" / "a")
    with pytest.raises(IsADirectoryError, match="path: .* is a folder"):
        save(two(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["none"]


def test_foreign_binary_ply(tmp_path):
    """Another order, other number types, view-dependent color, comments and Windows line ends."""
    rest = [(f"f_rest_{i}", "<f4") for i in range(45)]
    kinds = {"<f4": "float", "<f8": "double", "u1": "uchar"}
    names = [*((f"rot_{i}", "<f4") for i in range(4)), ("red", "u1"), *((f"f_dc_{i}", "<f8") for i in range(3)), *rest]
    names += [*((f"scale_{i}", "<f4") for i in range(3)), ("opacity", "<f4"), *((c, "<f8") for c in "zyx")]
    table = np.zeros(3, dtype=names)
    table["rot_0"], table["rot_1"], table["red"], table["f_rest_7"] = 0.6, 0.8, 255, 9
    table["x"], table["y"], table["z"] = [1, 2, 3], [4, 5, 6], [7, 8, 9]
    table["f_dc_1"], table["scale_2"], table["opacity"] = 0.5, math.log(0.3), math.log(3)
    lines = ["ply", "format binary_little_endian 1.0", "comment before end_header", "element vertex 3"]
    lines += [f"property {kinds[kind]} {name}" for name, kind in names]
    (tmp_path / "a.ply").write_bytes("\r\n".join([*lines, "end_header", ""]).encode() + table.tobytes())
    gaussians = load_ply(tmp_path / "a.ply")
    assert gaussians.means.tolist() == [[1, 4, 7], [2, 5, 8], [3, 6, 9]] and gaussians.dtype == torch.float32
    assert_close(gaussians.quats, torch.tensor([[0.6, 0.8, 0, 0]] * 3), 1e-6)
    assert_close(gaussians.scales, torch.tensor([[1, 1, 0.3]] * 3), 1e-6)
    assert_close(gaussians.opacities, torch.full((3,), 0.75), 1e-6)
    assert gaussians.sh0.tolist() == [[0, 0.5, 0]] * 3


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


def test_splat_round_trip_within_its_quantization(tmp_path):
    generator = torch.Generator().manual_seed(0)
    draw = [torch.rand(500, n, generator=generator) for n in (3, 4, 3, 1, 3)]
    # Colors in [0, 1], and different volumes, so that the file's order is known.
    gaussians = Gaussians(draw[0], draw[1] - 0.5, draw[2] + 0.01, draw[3][:, 0], (draw[4] - 0.5) / 0.2820948)
    gaussians = gaussians[(gaussians.scales.prod(-1) * gaussians.opacities).argsort(descending=True)]
    save_splat(gaussians, tmp_path / "a.splat")
    again = load_splat(tmp_path / "a.splat")
    assert torch.equal(again.means, gaussians.means) and torch.equal(again.scales, gaussians.scales)
    assert_close(again.rgb, gaussians.rgb, 0.5 / 255 + 1e-6)
    assert_close(again.opacities, gaussians.opacities, 0.5 / 255 + 1e-6)
    # Half a step for each of four components, a whole one where 1 does not fit into the byte.
    unit = torch.nn.functional.normalize(gaussians.quats, dim=-1)
    assert_close(again.quats, unit, 1 / 128 + 1e-6)
    assert ((again.quats - unit).abs() <= 0.5 / 128 + 1e-6)[unit.max(-1).values < 0.99].all()


DAMAGE = {
    "cut off": (lambda data: data[:-5], "cut off or damaged"),
    "half a header": (lambda data: data[:40], "no PLY header"),
    "empty": (lambda data: b"", "no PLY header"),
    "text": (lambda data: b"hello", "no PLY header"),
    "no opacity": (lambda data: data.replace(b"opacity", b"opaqity"), "lacks .*opacity"),
    "a property twice": (lambda data: data.replace(b"float nx", b"float x"), "names a property twice"),
    "big-endian": (lambda data: data.replace(b"little", b"big"), "got binary_big_endian"),
    "no format": (lambda data: data.replace(b"format", b"comment"), "got None"),
    "unknown type": (lambda data: data.replace(b"float x", b"half x"), "properties that are numbers"),
    "faces": (lambda data: data.replace(b"end_header", b"element face 0\nend_header"), "nothing else"),
    "a negative count": (lambda data: data.replace(b"vertex 2", b"vertex -2"), "nothing else"),
    "too large a count": (lambda data: data.replace(b"vertex 2", b"vertex " + b"9" * 30), "cut off or damaged"),
    "binary said to be ascii": (lambda data: data.replace(b"binary_little_endian", b"ascii"), "cut off or damaged"),
    "NaN": (lambda data: data[:-4] + struct.pack("<f", math.nan), "no Gaussians: quats"),
    "a huge scale": (lambda data: data[:-28] + struct.pack("<f", 500) + data[-24:], "no Gaussians: scales"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_ply(tmp_path, case):
    damage, says = DAMAGE[case]
    save_ply(two(), tmp_path / "a.ply")
    (tmp_path / "bad.ply").write_bytes(damage((tmp_path / "a.ply").read_bytes()))
    with pytest.raises(ValueError, match=rf"path: .*bad\.ply .*{says}"):
        load_ply(tmp_path / "bad.ply")


def test_damaged_splat_and_missing_files(tmp_path):
    (tmp_path / "b.splat").write_bytes(bytes(33))
    with pytest.raises(ValueError, match="32 bytes"):
        load_splat(tmp_path / "b.splat")
    (tmp_path / "b.splat").write_bytes(struct.pack("<6f8B", math.nan, *[0] * 5, *[200] * 8))
    with pytest.raises(ValueError, match=r"path: .*b\.splat .*means must be finite"):
        load_splat(tmp_path / "b.splat")
    for load in (load_ply, load_splat):
        with pytest.raises(FileNotFoundError, match=r"path: no file .*c\.splat"):
            load(tmp_path / "c.splat")
