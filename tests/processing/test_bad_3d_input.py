"""Bad meshes, cameras, views and voxels: each is refused with a message that names the culprit and what is expected."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing import (
    AtokenProcessor,
    AtokenVoxelProcessor,
    Cameras,
    hammersley_cameras,
    look_at,
    mesh_views,
    read_transforms,
    read_views,
    turntable_cameras,
)
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.mesh_views_atoken import render_mesh

VOXELS = AtokenVoxelProcessor()
EYE = torch.eye(4)
LENS = torch.tensor([[1.4, 0, 0.5], [0, 1.4, 0.5], [0, 0, 1]])


def altered(matrix: torch.Tensor, row: int, column: int, value: float) -> torch.Tensor:
    matrix = matrix.clone()
    matrix[row, column] = value
    return matrix[None]


# What is called, and a pattern for the message.
CAMERAS: dict[str, tuple[Callable[[], Any], str]] = {
    "no batch": (lambda: Cameras(EYE, LENS[None]), r"world_to_camera must be \(V, 4, 4\).*got shape \(4, 4\)"),
    "no views": (
        lambda: Cameras(EYE[None][:0], LENS[None][:0]),
        r"world_to_camera must be .*at least 1, got shape \(0, ",
    ),
    "3x4 matrices": (lambda: Cameras(EYE[None, :3], LENS[None]), r"world_to_camera must .*got shape \(1, 3, 4\)"),
    "nan": (lambda: Cameras(altered(EYE, 0, 3, math.nan), LENS[None]), r"world_to_camera must .*got NaN"),
    "scaled": (lambda: Cameras(altered(EYE, 0, 0, 2), LENS[None]), r"world_to_camera must be rigid.*got matrix 0"),
    "mirrored": (lambda: Cameras(altered(EYE, 0, 0, -1), LENS[None]), r"world_to_camera must be rigid.*mirroring"),
    "transposed": (lambda: Cameras(altered(EYE, 3, 0, 2), LENS[None]), r"world_to_camera must be rigid.*last row"),
    "complex": (lambda: Cameras(EYE[None] * 1j, LENS[None]), r"world_to_camera must .*got torch.complex64"),
    "text": (lambda: Cameras("front", LENS[None]), r"world_to_camera must be a tensor.*got str"),
    "one lens for two": (lambda: Cameras(EYE.repeat(2, 1, 1), LENS[None]), r"intrinsics must .*got 1 matrices for 2"),
    "pixels": (lambda: Cameras(EYE[None], altered(LENS, 0, 0, 700)), r"intrinsics must be .*divided.*.*pixels"),
    "no focal length": (lambda: Cameras(EYE[None], altered(LENS, 1, 1, 0)), r"intrinsics must .*got a focal length"),
    "last row": (lambda: Cameras(EYE[None], altered(LENS, 2, 2, 2)), r"intrinsics: the last row"),
    "at its target": (lambda: look_at(torch.zeros(1, 3)), r"positions must .*got a camera at its own target"),
    "angle": (lambda: look_at(torch.ones(1, 3), fov_degrees=180), r"fov_degrees must be .*got 180"),
    "no up": (lambda: look_at(torch.ones(1, 3), up=(0, 0, 0)), r"up must be three finite numbers"),
    "positions": (lambda: look_at(torch.ones(3)), r"positions must be \(V, 3\).*got shape \(3,\)"),
    "no cameras": (lambda: hammersley_cameras(0), r"num_views must be an integer.*got 0"),
    "half a camera": (lambda: hammersley_cameras(1.5), r"num_views must .*got 1.5"),
    "radius": (lambda: turntable_cameras(4, radius=-1), r"radius must be a positive.*got -1"),
    "elevation": (lambda: turntable_cameras(4, elevation_degrees=90), r"elevation_degrees must .*got 90"),
    "offset": (lambda: hammersley_cameras(4, offset=(1, 2, 3)), r"offset must be two.*got 3 numbers"),
    "scale": (lambda: turntable_cameras(1).normalized((0, 0, 0), 0), r"scale must be a positive.*got 0"),
    "center": (lambda: turntable_cameras(1).normalized((0, math.inf, 0), 1), r"center must be .*finite numbers, got"),
}

POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
FRAME = {"file_path": "a.png", "transform_matrix": POSE}
TRANSFORMS: dict[str, tuple[Any, str]] = {
    "no json": ("{", r"path must be a NeRF-style .*is not JSON"),
    "a list": ([FRAME], r"path must be a NeRF-style .*has no list of frames"),
    "no frames": ({"frames": [], "camera_angle_x": 1}, r"path must be a NeRF-style .*has no list of frames"),
    "no pose": ({"frames": [{}], "camera_angle_x": 1}, r"frames\[0\].transform_matrix must be a 4x4"),
    "text pose": ({"frames": [{"transform_matrix": [["1"] * 4] * 4}]}, r"frames\[0\].transform_matrix must be a 4x4"),
    "singular": (
        {"frames": [{"transform_matrix": [[0] * 4] * 4}], "camera_angle_x": 1},
        r"transform_matrix must .*got a singular",
    ),
    "no focal length": ({"frames": [FRAME]}, r"frames\[0\].camera_angle_x or fl_x must be given"),
    "degrees": ({"frames": [FRAME], "camera_angle_x": 40}, r"camera_angle_x must be radians.*got 40"),
    "pixels of what": (
        {"frames": [FRAME], "fl_x": 700},
        r"frames\[0\].fl_x must come with w and h, as it is in pixels",
    ),
    "depth scale": ({"frames": [FRAME], "camera_angle_x": 1, "depth_unit_scale_factor": 0}, r"depth_unit_scale_factor"),
}

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    "element face {faces}\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 {y} 0\n{rest}"
)
BUFFER = {"byteLength": 36, "uri": "gone.bin"}
GLTF = {
    "asset": {"version": "2.0"},
    "scene": 0,
    "scenes": [{"nodes": [0]}],
    "nodes": [{"mesh": 0}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
    "bufferViews": [{"buffer": 0, "byteLength": 36}],
    "buffers": [BUFFER],
}
# The file's name, its contents, and a pattern for the message.
MESHES: dict[str, tuple[str, str | bytes | None, str]] = {
    "missing": ("gone.glb", None, r"mesh must be a mesh file, got .*gone.glb, which does not exist"),
    "wrong suffix": ("a.txt", "hello", r"mesh must be a file that ends in .glb.*got a.txt"),
    "empty glb": ("a.glb", b"", r"mesh: a.glb cannot be read"),
    "truncated glb": ("a.glb", b"glTF\x02\x00\x00\x00\xff\x00\x00\x00", r"mesh: a.glb cannot be read"),
    "glb of noise": ("a.glb", b"\x07" * 300, r"mesh: a.glb cannot be read"),
    "broken gltf": ("a.gltf", '{"asset": ', r"mesh: a.gltf cannot be read"),
    "missing buffer": ("a.gltf", json.dumps(GLTF), r"mesh: a.gltf cannot be read"),
    "empty obj": ("a.obj", "", r"mesh must be a surface, .*got a.obj, which has no faces"),
    "obj of points": (
        "a.obj",
        TRIANGLE,
        r"mesh must be a surface, .*got a.obj, which has no faces|mesh: a.obj cannot be read",
    ),
    "obj face out of range": ("a.obj", TRIANGLE + "f 1 2 9\n", r"mesh: a.obj"),
    "obj nan": ("a.obj", TRIANGLE.replace("1 0 0", "nan 0 0") + "f 1 2 3\n", r"mesh: a.obj: .*NaN"),
    "obj infinite": ("a.obj", TRIANGLE.replace("1 0 0", "inf 0 0") + "f 1 2 3\n", r"mesh: a.obj: .*infinite"),
    "a single point": (
        "a.obj",
        "v 1 1 1\n" * 3 + "f 1 2 3\n",
        r"mesh: a.obj: vertices must have an extent.*in one point",
    ),
    "ply of points": ("a.ply", PLY.format(faces=0, y=1, rest=""), r"mesh must be a surface.*a.ply, which has no faces"),
    "ply face out of range": (
        "a.ply",
        PLY.format(faces=1, y=1, rest="3 0 1 7\n"),
        r"mesh: a.ply: faces must be .*got 7",
    ),
    "ply negative face": ("a.ply", PLY.format(faces=1, y=1, rest="3 0 1 -2\n"), r"mesh: a.ply: faces"),
    "ply nan": ("a.ply", PLY.format(faces=1, y="nan", rest="3 0 1 2\n"), r"mesh: a.ply: .*NaN"),
    "ply without header": ("a.ply", "hello\n", r"mesh: a.ply cannot be read"),
    "empty ply": ("a.ply", "", r"mesh: a.ply cannot be read"),
    "empty stl": ("a.stl", b"", r"mesh must be a surface, .*got a.stl, which has no faces"),
    "truncated stl": (
        "a.stl",
        b"\0" * 80 + (9).to_bytes(4, "little") + b"\0" * 50,
        r"mesh must be a surface, .*got a.stl, which has no faces",
    ),
}

CAMERA = turntable_cameras(2)
GOOD = {
    "images": torch.zeros(2, 3, 8, 8),
    "depths": torch.full((2, 8, 8), 2.0),
    "world_to_camera": CAMERA.world_to_camera,
    "intrinsics": CAMERA.intrinsics,
}
MASKS = torch.ones(2, 8, 8, dtype=torch.bool)
VIEWS: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({"depths": None}, r"depths or masks must be given, got neither"),
    "both": ({"masks": MASKS}, r"depths or masks must be given, got both"),
    "masks of numbers": ({"depths": None, "masks": MASKS.float()}, r"masks must be bool.*got torch.float32"),
    "masks of one view": ({"depths": None, "masks": MASKS[:1]}, r"masks must .*got 1 views for 2 cameras"),
    "nothing in the masks": ({"depths": None, "masks": ~MASKS}, r"masks must show an object .*no voxel of the cube"),
    "images without pixels": ({"images": torch.zeros(2, 3, 8, 0)}, r"images must be views with pixels, got 8x0 pixels"),
    "images to 255": (
        {"images": torch.full((2, 3, 8, 8), 255.0)},
        r"images must be floats in \[0, 1\], got values",
    ),
    "images nan": ({"images": torch.full((2, 3, 8, 8), math.nan)}, r"images must .*got values that are NaN"),
    "images one too many": ({"images": torch.zeros(3, 3, 8, 8)}, r"images must .*got 3 views for 2 cameras"),
    "images of text": ({"images": "front.png"}, r"images must be a torch tensor.*got str"),
    "depths of integers": (
        {"depths": torch.ones(2, 8, 8, dtype=torch.int32)},
        r"depths must be floats.*got torch.int32",
    ),
    "depths infinite": ({"depths": torch.full((2, 8, 8), math.inf)}, r"depths must .*got NaN or infinite"),
    "depths of background": ({"depths": torch.full((2, 8, 8), -1.0)}, r"depths must show a surface, got background"),
    "depths out of the cube": (
        {"depths": torch.full((2, 8, 8), 9.0)},
        r"depths must show .*Cameras.normalized.*no surface",
    ),
    "depths with channels": ({"depths": torch.ones(2, 1, 8, 8)}, r"depths must .*got torch.float32 \(2, 1, 8, 8\)"),
    "lists of other lengths": (
        {"images": [GOOD["images"]] * 2, "depths": [GOOD["depths"]]},
        r"depths must be, as the others, a list",
    ),
    "no cameras": ({"world_to_camera": None}, r"world_to_camera must be .*got NoneType"),
}

CORNER = torch.zeros(1, 3, dtype=torch.long)
COLOR = torch.zeros(1, 768)
SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "empty": (lambda: VOXELS.pack_voxels(CORNER[:0], COLOR[:0]), r"coords must be .*got shape \(0, 3\)"),
    "twice": (lambda: VOXELS.pack_voxels(CORNER.repeat(2, 1), COLOR.repeat(2, 1)), r"coords must .*got a voxel more"),
    "beyond": (lambda: VOXELS.pack_voxels(CORNER + 64, COLOR), r"coords must be 0 to 63.*got values from 64 to 64"),
    "negative": (lambda: VOXELS.pack_voxels(CORNER - 1, COLOR), r"coords must .*got values from -1"),
    "floats": (lambda: VOXELS.pack_voxels(CORNER.float(), COLOR), r"coords must be integers.*got torch.float32"),
    "two columns": (lambda: VOXELS.pack_voxels(CORNER[:, :2], COLOR), r"coords must .*got shape \(1, 2\)"),
    "nan": (lambda: VOXELS.pack_voxels(CORNER, COLOR * math.nan), r"rgb must .*got values that are NaN"),
    "signed": (lambda: VOXELS.pack_voxels(CORNER, COLOR - 1), r"rgb must .*got values .*outside \[0, 1\]"),
    "three values": (lambda: VOXELS.pack_voxels(CORNER, COLOR[:, :3]), r"rgb must .*got torch.float32 \(1, 3\)"),
    "too many": (
        lambda: AtokenVoxelProcessor(resolution=2, max_voxels=1).pack_voxels(
            torch.tensor([[0, 0, 0], [0, 0, 1]]), COLOR.repeat(2, 1)
        ),
        r"voxels must be at most 1.*max_voxels.*got 2",
    ),
    "resolution": (lambda: AtokenVoxelProcessor(resolution=0), r"resolution must be an integer.*got 0"),
    "list of nothing": (lambda: AtokenProcessor()(voxels=[]), r"voxels must .*got an empty list"),
    "number": (lambda: AtokenProcessor()(voxels=[3]), r"voxels\[0\] must be Views.*got int"),
    "unknown key": (lambda: AtokenProcessor()(voxels=[{**GOOD, "depth": 1}]), r"voxels\[0\] must .*got the keys"),
    "missing file": (
        lambda: AtokenProcessor()(voxels=["gone.glb"]),
        r"voxels\[0\] must be a mesh file, got gone.glb, which does not exist",
    ),
}


def write_views(folder: Path, **entries: Any) -> None:
    """One gray 8x8 view, and what changes of its frame; arrays and pictures become files."""
    frame = dict(FRAME)
    Image.new("RGB", (8, 8), (99, 99, 99)).save(folder / "a.png")
    for key, value in entries.items():
        frame[key] = value
        if isinstance(value, np.ndarray):
            np.save(folder / f"{key}.npy", value)
            frame[key] = f"{key}.npy"
        elif isinstance(value, Image.Image):
            value.save(folder / f"{key}.png")
            frame[key] = f"{key}.png"
    (folder / "transforms.json").write_text(json.dumps({"frames": [frame], "camera_angle_x": 0.7}))


FOLDERS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing says what is object": ({}, r"folder must have depth_file_path, .*gives 0 depths and 0 masks for 1 frames"),
    "no picture": ({"file_path": None}, r"frames\[0\].file_path must be the path.*got None"),
    "picture gone": ({"file_path": "gone.png"}, r"frames\[0\].file_path: .*gone.png does not exist"),
    "picture damaged": ({"file_path": "transforms.json"}, r"frames\[0\].file_path: .*cannot be read"),
    "depth gone": ({"depth_file_path": "gone.npy"}, r"frames\[0\].depth_file_path: .*gone.npy does not exist"),
    "depth of integers": (
        {"depth_file_path": np.ones((8, 8), int)},
        r"frames\[0\].depth_file_path must be floats.*got int64",
    ),
    "depth of 8 bits": (
        {"depth_file_path": Image.new("L", (8, 8))},
        r"frames\[0\].depth_file_path must be 16-bit.*mode L",
    ),
    "depth with channels": (
        {"depth_file_path": np.ones((8, 8, 3))},
        r"frames\[0\].depth_file_path must .*got float64 \(8, 8, 3\)",
    ),
    "mask gone": ({"mask_path": "gone.png"}, r"frames\[0\].mask_path: .*gone.png does not exist"),
}


LENSES: dict[str, tuple[dict[str, Any], str]] = {
    "k1": ({"k1": 0.3, "camera_model": "OPENCV"}, r"without distortion, got k1 = 0.3\. Undistort"),
    "tangential": ({"k1": 0.0, "p1": 1e-3, "p2": -0.01}, r"got p1 = 0.001, p2 = -0.01\."),
    "fisheye": ({"camera_model": "OPENCV_FISHEYE"}, r"camera_model must be .*got 'OPENCV_FISHEYE'"),
    "panorama": ({"camera_model": "EQUIRECTANGULAR"}, r"camera_model must be .*got 'EQUIRECTANGULAR'"),
    "fisheye of instant-ngp": ({"is_fisheye": True}, r"is_fisheye must be false"),
    "another proportion": ({"w": 16, "h": 8}, r"w and h must be in the proportion of its picture, got 16x8 .*of 8x8"),
}


@pytest.mark.parametrize("place", ["document", "frame"])
@pytest.mark.parametrize("case", LENSES)
def test_lenses_that_are_no_pinholes_are_refused_by_name(case, place, tmp_path):
    entries, pattern = LENSES[case]
    write_views(tmp_path, mask_path=Image.new("L", (8, 8), 255))
    document = json.loads((tmp_path / "transforms.json").read_text())
    (document if place == "document" else document["frames"][0]).update(entries)
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"frames\[0\].*{pattern}"):
        read_views(tmp_path)


@pytest.mark.parametrize("case", CAMERAS)
def test_bad_cameras(case):
    call, pattern = CAMERAS[case]
    with pytest.raises(ValueError, match=f"^{pattern}"):
        call()


@pytest.mark.parametrize("case", TRANSFORMS)
def test_bad_transforms(case, tmp_path):
    document, pattern = TRANSFORMS[case]
    path = tmp_path / "transforms.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(ValueError) as caught:
        read_transforms(path)
    assert re.search(pattern, str(caught.value))


@pytest.mark.parametrize("case", MESHES)
def test_bad_meshes(case, tmp_path):
    pytest.importorskip("trimesh")
    filename, contents, pattern = MESHES[case]
    if contents is not None:
        (tmp_path / filename).write_bytes(contents.encode() if isinstance(contents, str) else contents)
    with pytest.raises(FileNotFoundError if contents is None else ValueError, match=f"^({pattern})"):
        read_mesh(tmp_path / filename)


def test_bad_mesh_arguments(tmp_path):
    (tmp_path / "a.obj").write_text(TRIANGLE + "f 1 2 3\n")
    with pytest.raises(ValueError, match=r"^up must be 'y' or 'z'.*got 'x'"):
        read_mesh(tmp_path / "a.obj", up="x")
    with pytest.raises(FileNotFoundError, match=r"^mesh must .*does not exist"):
        mesh_views(tmp_path)
    with pytest.raises(ValueError, match=r"^mesh must be a ColoredMesh.*got str"):
        render_mesh("a.obj", CAMERA.world_to_camera, CAMERA.intrinsics)


@pytest.mark.parametrize("case", VIEWS)
def test_bad_views(case):
    change, pattern = VIEWS[case]
    with pytest.raises(ValueError, match=f"^{pattern}"):
        VOXELS(**{**GOOD, **change})


@pytest.mark.parametrize("case", FOLDERS)
def test_bad_folders(case, tmp_path):
    entries, pattern = FOLDERS[case]
    write_views(tmp_path, **entries)
    with pytest.raises(FileNotFoundError if "gone" in case else ValueError, match=f"^{pattern}"):
        read_views(tmp_path)


@pytest.mark.parametrize("case", SETS)
def test_bad_voxels(case):
    call, pattern = SETS[case]
    with pytest.raises(FileNotFoundError if case == "missing file" else ValueError, match=f"^{pattern}"):
        call()


def test_kinds_of_bad_input():
    kinds = {"cameras": (CAMERAS, TRANSFORMS), "meshes": (MESHES,), "voxel sets": (VIEWS, FOLDERS, SETS)}
    counts = {name: sum(map(len, tables)) for name, tables in kinds.items()}
    print(counts)
    assert sum(counts.values()) >= 30 and min(counts.values()) >= 12
