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
    "no batch": (lambda: Cameras(EYE, LENS[None]), r"world_to_camera: got shape \(4, 4\); expected \(V, 4, 4\)"),
    "no views": (lambda: Cameras(EYE[None][:0], LENS[None][:0]), r"world_to_camera: got shape .*at least 1"),
    "3x4 matrices": (lambda: Cameras(EYE[None, :3], LENS[None]), r"world_to_camera: got shape \(1, 3, 4\)"),
    "nan": (lambda: Cameras(altered(EYE, 0, 3, math.nan), LENS[None]), r"world_to_camera: got NaN"),
    "scaled": (lambda: Cameras(altered(EYE, 0, 0, 2), LENS[None]), r"world_to_camera: matrix 0 is not rigid; expected"),
    "mirrored": (lambda: Cameras(altered(EYE, 0, 0, -1), LENS[None]), r"world_to_camera: .*mirroring"),
    "transposed": (lambda: Cameras(altered(EYE, 3, 0, 2), LENS[None]), r"world_to_camera: .*last row"),
    "complex": (lambda: Cameras(EYE[None] * 1j, LENS[None]), r"world_to_camera: got torch.complex64"),
    "text": (lambda: Cameras("front", LENS[None]), r"world_to_camera: got str; expected a tensor"),
    "one lens for two": (lambda: Cameras(EYE.repeat(2, 1, 1), LENS[None]), r"intrinsics: got 1 matrices for 2"),
    "pixels": (lambda: Cameras(EYE[None], altered(LENS, 0, 0, 700)), r"intrinsics: .*pixels; expected .*divided"),
    "no focal length": (lambda: Cameras(EYE[None], altered(LENS, 1, 1, 0)), r"intrinsics: got a focal length"),
    "last row": (lambda: Cameras(EYE[None], altered(LENS, 2, 2, 2)), r"intrinsics: the last row"),
    "at its target": (lambda: look_at(torch.zeros(1, 3)), r"positions: got a camera at its own target"),
    "angle": (lambda: look_at(torch.ones(1, 3), fov_degrees=180), r"fov_degrees: got 180; expected"),
    "no up": (lambda: look_at(torch.ones(1, 3), up=(0, 0, 0)), r"up: expected three finite numbers"),
    "positions": (lambda: look_at(torch.ones(3)), r"positions: got shape \(3,\); expected \(V, 3\)"),
    "no cameras": (lambda: hammersley_cameras(0), r"num_views: got 0; expected an integer"),
    "half a camera": (lambda: hammersley_cameras(1.5), r"num_views: got 1.5"),
    "radius": (lambda: turntable_cameras(4, radius=-1), r"radius: got -1; expected a positive"),
    "elevation": (lambda: turntable_cameras(4, elevation_degrees=90), r"elevation_degrees: got 90"),
    "offset": (lambda: hammersley_cameras(4, offset=(1, 2, 3)), r"offset: got 3 numbers; expected two"),
    "scale": (lambda: turntable_cameras(1).normalized((0, 0, 0), 0), r"scale: got 0; expected a positive"),
    "centre": (lambda: turntable_cameras(1).normalized((0, math.inf, 0), 1), r"centre: got .*finite"),
}

POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
FRAME = {"file_path": "a.png", "transform_matrix": POSE}
TRANSFORMS: dict[str, tuple[Any, str]] = {
    "no json": ("{", r"path: .*is not JSON.*expected a NeRF-style"),
    "a list": ([FRAME], r"frames: .*has no list of frames"),
    "no frames": ({"frames": [], "camera_angle_x": 1}, r"frames: .*has no list of frames"),
    "no pose": ({"frames": [{}], "camera_angle_x": 1}, r"frames\[0\].transform_matrix: expected a 4x4"),
    "text pose": ({"frames": [{"transform_matrix": [["1"] * 4] * 4}]}, r"frames\[0\].transform_matrix: expected"),
    "singular": (
        {"frames": [{"transform_matrix": [[0] * 4] * 4}], "camera_angle_x": 1},
        r"transform_matrix: got a singular",
    ),
    "no focal length": ({"frames": [FRAME]}, r"frames\[0\].camera_angle_x: missing"),
    "degrees": ({"frames": [FRAME], "camera_angle_x": 40}, r"camera_angle_x: got 40; expected radians"),
    "pixels of what": ({"frames": [FRAME], "fl_x": 700}, r"frames\[0\].fl_x: is in pixels, but w and h are missing"),
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
    "missing": ("gone.glb", None, r"mesh: .*gone.glb does not exist"),
    "wrong suffix": ("a.txt", "hello", r"mesh: got a.txt; expected a file that ends in .glb"),
    "empty glb": ("a.glb", b"", r"mesh: a.glb cannot be read"),
    "truncated glb": ("a.glb", b"glTF\x02\x00\x00\x00\xff\x00\x00\x00", r"mesh: a.glb cannot be read"),
    "glb of noise": ("a.glb", b"\x07" * 300, r"mesh: a.glb cannot be read"),
    "broken gltf": ("a.gltf", '{"asset": ', r"mesh: a.gltf cannot be read"),
    "missing buffer": ("a.gltf", json.dumps(GLTF), r"mesh: a.gltf cannot be read"),
    "empty obj": ("a.obj", "", r"mesh: a.obj"),
    "obj of points": ("a.obj", TRIANGLE, r"mesh: a.obj has no faces; expected a surface|mesh: a.obj cannot be read"),
    "obj face out of range": ("a.obj", TRIANGLE + "f 1 2 9\n", r"mesh: a.obj"),
    "obj nan": ("a.obj", TRIANGLE.replace("1 0 0", "nan 0 0") + "f 1 2 3\n", r"mesh: a.obj: .*NaN"),
    "obj infinite": ("a.obj", TRIANGLE.replace("1 0 0", "inf 0 0") + "f 1 2 3\n", r"mesh: a.obj: .*infinite"),
    "a single point": ("a.obj", "v 1 1 1\n" * 3 + "f 1 2 3\n", r"mesh: a.obj: vertices: all lie in one point"),
    "ply of points": ("a.ply", PLY.format(faces=0, y=1, rest=""), r"mesh: a.ply has no faces"),
    "ply face out of range": ("a.ply", PLY.format(faces=1, y=1, rest="3 0 1 7\n"), r"mesh: a.ply: faces: .*7"),
    "ply negative face": ("a.ply", PLY.format(faces=1, y=1, rest="3 0 1 -2\n"), r"mesh: a.ply: faces"),
    "ply nan": ("a.ply", PLY.format(faces=1, y="nan", rest="3 0 1 2\n"), r"mesh: a.ply: .*NaN"),
    "ply without header": ("a.ply", "hello\n", r"mesh: a.ply cannot be read"),
    "empty ply": ("a.ply", "", r"mesh: a.ply cannot be read"),
    "empty stl": ("a.stl", b"", r"mesh: a.stl"),
    "truncated stl": (
        "a.stl",
        b"\0" * 80 + (9).to_bytes(4, "little") + b"\0" * 50,
        r"mesh: a.stl has no faces; expected a surface",
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
    "neither": ({"depths": None}, r"depths: expected depths or masks, got neither"),
    "both": ({"masks": MASKS}, r"depths: expected depths or masks, got both"),
    "masks of numbers": ({"depths": None, "masks": MASKS.float()}, r"masks: got torch.float32 .*expected bool"),
    "masks of one view": ({"depths": None, "masks": MASKS[:1]}, r"masks: got 1 views for 2 cameras"),
    "nothing in the masks": ({"depths": None, "masks": ~MASKS}, r"masks: no voxel of the cube"),
    "images oblong": ({"images": torch.zeros(2, 3, 8, 9)}, r"images: got 8x9 pixels; expected square"),
    "images to 255": ({"images": torch.full((2, 3, 8, 8), 255.0)}, r"images: got values .*expected floats in \[0, 1\]"),
    "images nan": ({"images": torch.full((2, 3, 8, 8), math.nan)}, r"images: got values that are NaN"),
    "images one too many": ({"images": torch.zeros(3, 3, 8, 8)}, r"images: got 3 views for 2 cameras"),
    "images of text": ({"images": "front.png"}, r"images: got str; expected a torch tensor"),
    "depths of integers": ({"depths": torch.ones(2, 8, 8, dtype=torch.int32)}, r"depths: got torch.int32.*floats"),
    "depths infinite": ({"depths": torch.full((2, 8, 8), math.inf)}, r"depths: got NaN or infinite"),
    "depths of background": ({"depths": torch.full((2, 8, 8), -1.0)}, r"depths: every pixel is background"),
    "depths out of the cube": ({"depths": torch.full((2, 8, 8), 9.0)}, r"depths: no surface .*Cameras.normalized"),
    "depths with channels": ({"depths": torch.ones(2, 1, 8, 8)}, r"depths: got torch.float32 \(2, 1, 8, 8\)"),
    "lists of other lengths": (
        {"images": [GOOD["images"]] * 2, "depths": [GOOD["depths"]]},
        r"depths: expected, as the others, a list",
    ),
    "no cameras": ({"world_to_camera": None}, r"world_to_camera: got NoneType; expected"),
}

CORNER = torch.zeros(1, 3, dtype=torch.long)
COLOR = torch.zeros(1, 768)
SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "empty": (lambda: VOXELS.pack_voxels(CORNER[:0], COLOR[:0]), r"coords: got shape \(0, 3\); expected"),
    "twice": (lambda: VOXELS.pack_voxels(CORNER.repeat(2, 1), COLOR.repeat(2, 1)), r"coords: got a voxel more"),
    "beyond": (lambda: VOXELS.pack_voxels(CORNER + 64, COLOR), r"coords: got values from 64 to 64; expected 0 to 63"),
    "negative": (lambda: VOXELS.pack_voxels(CORNER - 1, COLOR), r"coords: got values from -1"),
    "floats": (lambda: VOXELS.pack_voxels(CORNER.float(), COLOR), r"coords: got torch.float32; expected integers"),
    "two columns": (lambda: VOXELS.pack_voxels(CORNER[:, :2], COLOR), r"coords: got shape \(1, 2\)"),
    "nan": (lambda: VOXELS.pack_voxels(CORNER, COLOR * math.nan), r"rgb: got values that are NaN"),
    "signed": (lambda: VOXELS.pack_voxels(CORNER, COLOR - 1), r"rgb: got values .*outside \[0, 1\]"),
    "three values": (lambda: VOXELS.pack_voxels(CORNER, COLOR[:, :3]), r"rgb: got torch.float32 \(1, 3\)"),
    "too many": (
        lambda: AtokenVoxelProcessor(resolution=2, max_voxels=1).pack_voxels(
            torch.tensor([[0, 0, 0], [0, 0, 1]]), COLOR.repeat(2, 1)
        ),
        r"voxels: got 2; expected at most 1.*max_voxels",
    ),
    "resolution": (lambda: AtokenVoxelProcessor(resolution=0), r"resolution: got 0; expected an integer"),
    "list of nothing": (lambda: AtokenProcessor()(voxels=[]), r"voxels: got an empty list"),
    "number": (lambda: AtokenProcessor()(voxels=[3]), r"voxels\[0\]: got int; expected Views"),
    "unknown key": (lambda: AtokenProcessor()(voxels=[{**GOOD, "depth": 1}]), r"voxels\[0\]: got the keys"),
    "missing file": (lambda: AtokenProcessor()(voxels=["gone.glb"]), r"voxels\[0\]: gone.glb does not exist"),
}


def write_views(folder: Path, **entries: Any) -> None:
    """One grey 8x8 view, and what changes of its frame; arrays and pictures become files."""
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
    "nothing says what is object": ({}, r"folder: .*gives 0 depths and 0 masks for 1 frames; expected"),
    "no picture": ({"file_path": None}, r"frames\[0\].file_path: got None; expected the path"),
    "picture gone": ({"file_path": "gone.png"}, r"frames\[0\].file_path: .*gone.png does not exist"),
    "picture damaged": ({"file_path": "transforms.json"}, r"frames\[0\].file_path: .*cannot be read"),
    "depth gone": ({"depth_file_path": "gone.npy"}, r"frames\[0\].depth_file_path: .*gone.npy does not exist"),
    "depth of integers": (
        {"depth_file_path": np.ones((8, 8), int)},
        r"frames\[0\].depth_file_path: got int64 .*expected floats",
    ),
    "depth of 8 bits": (
        {"depth_file_path": Image.new("L", (8, 8))},
        r"frames\[0\].depth_file_path: .*mode L; expected 16-bit",
    ),
    "depth with channels": (
        {"depth_file_path": np.ones((8, 8, 3))},
        r"frames\[0\].depth_file_path: got float64 \(8, 8, 3\)",
    ),
    "mask gone": ({"mask_path": "gone.png"}, r"frames\[0\].mask_path: .*gone.png does not exist"),
}


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
    with pytest.raises(ValueError, match=r"^up: got 'x'; expected 'y' or 'z'"):
        read_mesh(tmp_path / "a.obj", up="x")
    with pytest.raises(FileNotFoundError, match=r"^mesh: .* does not exist"):
        mesh_views(tmp_path)
    with pytest.raises(ValueError, match=r"^mesh: got str; expected a ColoredMesh"):
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
