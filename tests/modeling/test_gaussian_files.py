"""PLY and .splat files of Gaussians: bytes parsed independently, round trips, damaged files."""

import math
import struct
import warnings

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
    with pytest.warns(UserWarning, match="f_rest"):
        gaussians = load_ply(tmp_path / "a.ply")
    assert gaussians.means.tolist() == [[1, 4, 7], [2, 5, 8], [3, 6, 9]] and gaussians.dtype == torch.float32
    assert_close(gaussians.quats, torch.tensor([[0.6, 0.8, 0, 0]] * 3), 1e-6)
    assert_close(gaussians.scales, torch.tensor([[1, 1, 0.3]] * 3), 1e-6)
    assert_close(gaussians.opacities, torch.full((3,), 0.75), 1e-6)
    assert gaussians.sh0.tolist() == [[0, 0.5, 0]] * 3


FIELDS = ("means", "quats", "scales", "opacities", "sh0")
COLUMNS = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()


def write_elements(path, order: str, elements: list[tuple[str, list[tuple[str, str]], list[tuple]]]) -> None:
    """Writes a PLY by hand; a property of type "list" has a uchar length and int values."""
    kinds = {"f": "float", "d": "double", "B": "uchar", "H": "ushort", "i": "int", "list": "list uchar int"}
    form = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    lines, body = ["ply", f"format {form} 1.0", "obj_info element of nothing 3"], []
    for name, properties, rows in elements:
        lines += [f"element {name} {len(rows)}", *(f"property {kinds[kind]} {column}" for column, kind in properties)]
        for row in rows:
            for (_, kind), value in zip(properties, row, strict=True):
                values = [(kind, value)] if kind != "list" else [("B", len(value)), *(("i", each) for each in value)]
                body += [struct.pack(order + k, v) if order else f"{v} ".encode() for k, v in values]
            body += [] if order else [b"\n"]
    path.write_bytes("\n".join([*lines, "end_header", ""]).encode() + b"".join(body))


@pytest.mark.parametrize("order", ["<", ">", ""])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_further_elements_are_passed_over_in_every_form(tmp_path, order, place):
    """Cameras, times and faces, as other programs write them beside the Gaussians."""
    gaussians = two()
    opacity = torch.logit(gaussians.opacities)[:, None]
    table = torch.cat([gaussians.means, gaussians.sh0, opacity, gaussians.scales.log(), gaussians.quats], dim=1)
    vertex = ("vertex", [(c, "d" if c == "x" else "f") for c in COLUMNS], [tuple(row) for row in table.tolist()])
    others = [
        ("extrinsic", [("extrinsic", "f")], [(float(i),) for i in range(16)]),
        ("image_size", [("w", "H"), ("h", "H")], [(640, 480)]),
        ("face", [("vertex_indices", "list"), ("flags", "B")], [((0, 1, 2), 7), ((), 1), ((5,), 9)]),
        ("empty", [("nothing", "f")], []),
    ]
    elements = [*others, vertex] if place == "before" else [vertex, *others]
    write_elements(tmp_path / "a.ply", order, elements)
    again = load_ply(tmp_path / "a.ply")
    for name in FIELDS:
        assert_close(getattr(again, name), getattr(gaussians, name), 1e-6)


def test_rows_that_are_no_gaussians_are_left_out_with_their_number(tmp_path):
    save_ply(two(), tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes()
    start = len(data) - 2 * 17 * 4
    # Places of x, opacity, scale_0 and rot_0 in a row of 17 floats.
    for spoiled in ({0: math.nan}, {9: math.nan}, {10: 500.0}, {13: 0, 14: 0, 15: 0, 16: 0}, {0: -math.inf}):
        row = list(struct.unpack_from("<17f", data, start))
        for place, value in spoiled.items():
            row[place] = value
        (tmp_path / "bad.ply").write_bytes(data[:start] + struct.pack("<17f", *row) + data[start + 68 :])
        with pytest.warns(UserWarning, match=r"bad\.ply: 1 of 2 Gaussians is left out"):
            again = load_ply(tmp_path / "bad.ply")
        assert len(again) == 1
        assert_close(again.means, two().means[1:], 1e-6)
    # Infinite logits and logarithms are what full, no opacity and no extent are stored as.
    row = [*struct.unpack_from("<9f", data, start), math.inf, -math.inf, -math.inf, -math.inf, 1, 0, 0, 0]
    (tmp_path / "a.ply").write_bytes(data[:start] + struct.pack("<17f", *row) + data[start + 68 :])
    again = load_ply(tmp_path / "a.ply")
    assert again.opacities[0] == 1 and again.scales[0].tolist() == [0, 0, 0] and len(again) == 2
    (tmp_path / "b.splat").write_bytes(
        struct.pack("<6f8B", math.nan, *[0] * 5, *[200] * 8) + struct.pack("<6f8B", *[0.5] * 6, *[200] * 8)
    )
    with pytest.warns(UserWarning, match=r"b\.splat: 1 of 2 Gaussians"):
        assert len(load_splat(tmp_path / "b.splat")) == 1


def test_lost_color_is_said(tmp_path):
    columns = [*COLUMNS, "f_rest_0", "f_rest_1"]
    row = [0.0] * 10 + [1.0, 0, 0, 0]
    for rest, lost in (([0.0, 0.0], False), ([0.0, 0.5], True)):
        write_elements(tmp_path / "a.ply", "<", [("vertex", [(c, "f") for c in columns], [(*row, *rest)])])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_ply(tmp_path / "a.ply")
        assert [("f_rest" in str(each.message), "a.ply" in str(each.message)) for each in caught] == [
            (True, True)
        ] * lost


def packed_bits(*fields: tuple[float, int]) -> int:
    """Numbers in [0, 1] with so many bits each, the first highest."""
    value = 0
    for number, width in fields:
        value = value << width | round(number * (2**width - 1))
    return value


@pytest.mark.parametrize("colors", [True, False])
def test_compressed_ply(tmp_path, colors):
    """Chunks of 256 with bounds of their own; the format as PlayCanvas documents it, packed here in plain Python."""
    generator = np.random.default_rng(0)
    count = 300
    means, logs = generator.uniform(-3, 5, (count, 3)), generator.uniform(-6, -1, (count, 3))
    quats, rgba = generator.normal(size=(count, 4)), generator.uniform(0, 1, (count, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    names = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_{axis}" for end in ("min", "max") for axis in "rgb"] if colors else []
    low, high = (0.2, 0.9) if colors else (0.0, 1.0)
    chunks, rows = [], []
    for start in range(0, count, 256):
        parts = [values[start : start + 256] for values in (means, logs)]
        bounds = [edge for part in parts for edge in (*part.min(0), *part.max(0))]
        chunks.append((*bounds, *([low] * 3 + [high] * 3 if colors else [])))
        (mean_low, mean_high), (log_low, log_high) = ((part.min(0), part.max(0)) for part in parts)
        for i in range(start, min(start + 256, count)):
            quat, largest = quats[i], int(np.abs(quats[i]).argmax())
            small = [value * np.sign(quat[largest]) / 2**0.5 + 0.5 for k, value in enumerate(quat) if k != largest]
            position, scale = (means[i] - mean_low) / (mean_high - mean_low), (logs[i] - log_low) / (log_high - log_low)
            rows.append(
                (
                    packed_bits(*zip(position, (11, 10, 11), strict=True)),
                    largest << 30 | packed_bits(*((value, 10) for value in small)),
                    packed_bits(*zip(scale, (11, 10, 11), strict=True)),
                    packed_bits(*((value, 8) for value in rgba[i])),
                )
            )
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {len(chunks)}"]
    lines += [f"property float {name}" for name in names] + [f"element vertex {count}"]
    lines += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    body = b"".join(struct.pack(f"<{len(names)}f", *row) for row in chunks)
    data = "\n".join([*lines, "end_header", ""]).encode() + body + b"".join(struct.pack("<4I", *row) for row in rows)
    (tmp_path / "a.ply").write_bytes(data)
    gaussians = load_ply(tmp_path / "a.ply")
    # Half a step of the coarsest field.
    assert_close(gaussians.means.double(), torch.from_numpy(means), 8 / 1023 / 2 + 1e-5)
    assert_close(gaussians.scales.double().log(), torch.from_numpy(logs), 5 / 1023 / 2 + 1e-5)
    assert_close(gaussians.opacities.double(), torch.from_numpy(rgba[:, 3]), 0.5 / 255 + 1e-6)
    expected = torch.from_numpy(low + (high - low) * rgba[:, :3])
    assert_close(gaussians.rgb.double(), expected, 0.5 / 255 + 1e-6)
    turned = gaussians.quats.double() * (gaussians.quats.double() * torch.from_numpy(quats)).sum(1, True).sign()
    assert_close(turned, torch.from_numpy(quats), 2**0.5 / 1023 * 1.5)
    (tmp_path / "b.ply").write_bytes(data.replace(b"min_x", b"mini_"))
    with pytest.raises(ValueError, match=r"path: .*b\.ply is damaged: .*got 0 chunks"):
        load_ply(tmp_path / "b.ply")


def test_ascii_ply_in_another_order_with_more_columns(tmp_path):
    names = "rot_0 rot_1 rot_2 rot_3 f_rest_0 opacity scale_0 scale_1 scale_2 f_dc_0 f_dc_1 f_dc_2 x y z".split()
    lines = ["ply", "format ascii 1.0", "element vertex 1", *(f"property float {n}" for n in names), "end_header"]
    (tmp_path / "a.ply").write_text("\n".join([*lines, "1 0 0 0 9 0 0 0 0 .1 .2 .3 4 5 6"]))
    with pytest.warns(UserWarning, match="f_rest"):
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
    "another byte order": (lambda data: data.replace(b"little", b"middle"), "got binary_middle_endian"),
    "no format": (lambda data: data.replace(b"format", b"comment"), "got None"),
    "unknown type": (lambda data: data.replace(b"float x", b"half x"), "properties that are numbers"),
    "a negative count": (lambda data: data.replace(b"vertex 2", b"vertex -2"), "got element vertex -2"),
    "no vertices": (lambda data: data.replace(b"element vertex", b"element face"), "lacks x, y, z"),
    "a list": (lambda data: data.replace(b"float nx", b"list uchar float nx"), "vertex has lists"),
    "a property of nothing": (lambda data: data.replace(b"element vertex 2\n", b""), "got property float x"),
    "cut off in a list": (
        lambda data: data.replace(b"element vertex", b"element face 9\nproperty list uint int i\nelement vertex"),
        "cut off or damaged, .* of (face|vertex)",
    ),
    "too large a count": (lambda data: data.replace(b"vertex 2", b"vertex " + b"9" * 30), "cut off or damaged"),
    "binary said to be ascii": (lambda data: data.replace(b"binary_little_endian", b"ascii"), "cut off or damaged"),
    "NaN everywhere": (lambda data: data[:-136] + struct.pack("<f", math.nan) * 34, "no Gaussians: each of its 2 rows"),
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
    with pytest.raises(ValueError, match=r"path: .*b\.splat holds no Gaussians: each of its 1 rows"):
        load_splat(tmp_path / "b.splat")
    for load in (load_ply, load_splat):
        with pytest.raises(FileNotFoundError, match=r"path: no file .*c\.splat"):
            load(tmp_path / "c.splat")
