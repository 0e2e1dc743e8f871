"""From cameras and mesh files to voxels, against closed forms and numbers typed by hand."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing import (
    AtokenProcessor,
    AtokenVoxelProcessor,
    Cameras,
    Views,
    hammersley_cameras,
    look_at,
    mesh_views,
    read_transforms,
    read_views,
    turntable_cameras,
)
from atoken.processing.cameras_atoken import project
from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.processing.visual_hull_atoken import visual_hull
from atoken.processing.voxel_processing_atoken import occupied_voxels, unproject

from .samples import clip, photo

FRONT = look_at(torch.tensor([[2.0, 0.0, 0.0]]), fov_degrees=90)


def reversed_bits(index: int) -> float:
    text = format(index, "b")
    return int(text[::-1], 2) / 2 ** len(text)


def test_hammersley_positions():
    expected = []
    for index in range(6):
        elevation = math.acos(1 - 2 * index / 6) - math.pi / 2
        azimuth = 2 * math.pi * reversed_bits(index)
        flat = 2 * math.cos(elevation)
        expected.append([flat * math.cos(azimuth), flat * math.sin(azimuth), 2 * math.sin(elevation)])
    positions = hammersley_cameras(6).positions
    torch.testing.assert_close(positions, torch.tensor(expected), atol=1e-6, rtol=0)
    assert [reversed_bits(index) for index in range(6)] == [0, 0.5, 0.25, 0.75, 0.125, 0.625]


def test_cameras_see_the_origin_in_the_middle_and_z_upwards():
    for cameras in (hammersley_cameras(7), turntable_cameras(5)):
        uv, depth = project(torch.tensor([[0.0, 0, 0], [0, 0, 0.1]]), cameras)
        torch.testing.assert_close(uv[:, 0], torch.full((len(cameras), 2), 0.5), atol=1e-6, rtol=0)
        torch.testing.assert_close(depth[:, 0], torch.full((len(cameras),), 2.0), atol=1e-6, rtol=0)
        tilted = cameras.positions[:, :2].norm(dim=1) > 0.1
        assert (uv[tilted, 1, 1] < 0.5).all()


def test_projection_of_a_known_point():
    # From x = 2 towards the origin y is to the right; a right angle of view sees as far sideways as it is away.
    uv, depth = project(torch.tensor([[1.0, 0.5, 0.25]]), FRONT)
    torch.testing.assert_close(uv[0, 0], torch.tensor([0.75, 0.375]))
    assert depth.item() == pytest.approx(1)


def test_normalized_cameras_see_the_same():
    cameras, points = hammersley_cameras(4), torch.rand(9, 3, generator=torch.Generator().manual_seed(0))
    center = torch.tensor([0.3, -0.2, 0.7])
    uv, depth = project(points, cameras)
    again, scaled = project((points - center) * 0.25, cameras.normalized(center, 0.25))
    torch.testing.assert_close(again, uv, atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled, depth * 0.25, atol=1e-6, rtol=0)


def test_transforms_by_hand(tmp_path):
    # OpenGL: the camera at (1, 2, 3) looks along the world's -z with y up.
    pose = [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    frames = [{"transform_matrix": pose}, {"transform_matrix": pose, "fl_y": 50, "cx": 60}]
    document = {"w": 100, "h": 50, "fl_x": 200, "frames": frames, "depth_unit_scale_factor": 0.01}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    cameras, entries, scale = read_transforms(tmp_path / "transforms.json")
    expected = torch.tensor([[1.0, 0, 0, -1], [0, -1, 0, 2], [0, 0, -1, 3], [0, 0, 0, 1]])
    torch.testing.assert_close(cameras.world_to_camera, expected.repeat(2, 1, 1))
    lenses = [[[2.0, 0, 0.5], [0, 4, 0.5], [0, 0, 1]], [[2.0, 0, 0.6], [0, 1, 0.5], [0, 0, 1]]]
    torch.testing.assert_close(cameras.intrinsics, torch.tensor(lenses))
    assert entries == frames and scale == 0.01


@pytest.fixture
def trimesh():
    pytest.importorskip("embreex")
    return pytest.importorskip("trimesh")


def seen(path, cameras: Cameras = FRONT, **options) -> tuple[torch.Tensor, torch.Tensor]:
    return render_mesh(read_mesh(path, up="z"), cameras.world_to_camera, cameras.intrinsics, **{"size": 32, **options})


def test_cube_has_the_depth_of_its_front_and_grey_without_colors(trimesh, tmp_path):
    trimesh.creation.box().export(tmp_path / "box.stl")
    images, depths = seen(tmp_path / "box.stl")
    # The front face at x = 0.5 is 1.5 away; its half side of 0.5 covers a third of the half image.
    axis = torch.arange(32) / 32 - 0.5
    inside = (axis.abs() * 2 * 1.5 < 0.5 - 1e-4)[None] & (axis.abs() * 2 * 1.5 < 0.5 - 1e-4)[:, None]
    assert torch.equal(depths[0] > 0, inside)
    torch.testing.assert_close(depths[0][inside], torch.full((int(inside.sum()),), 1.5))
    torch.testing.assert_close(images[0][:, inside], torch.full((3, int(inside.sum())), 0.6))
    assert not images[0][:, ~inside].any()


def test_pixel_offset_and_supersampling(trimesh, tmp_path):
    trimesh.creation.icosphere(4).export(tmp_path / "ball.stl")
    fine, _ = seen(tmp_path / "ball.stl", size=64, pixel_offset=0.5)
    coarse, depths = seen(tmp_path / "ball.stl", size=32, pixel_offset=0.5, supersampling=2)
    mean = fine.unflatten(3, (32, 2)).unflatten(2, (32, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(coarse, mean, atol=1e-6, rtol=0)
    assert torch.equal(depths, seen(tmp_path / "ball.stl", size=32, pixel_offset=0.5)[1])
    # Rays through the pixels' middle see a symmetric object symmetrically.
    assert torch.equal(depths > 0, (depths > 0).flip(2)) and torch.equal(depths > 0, (depths > 0).flip(1))


def test_colors_of_vertices_and_faces(trimesh, tmp_path):
    box = trimesh.creation.box()
    red, blue = [255, 0, 0, 255], [0, 0, 255, 255]
    for suffix in ("ply", "glb"):
        painted = trimesh.Trimesh(box.vertices, box.faces, vertex_colors=[red] * 8)
        painted.export(tmp_path / f"red.{suffix}")
        assert seen(tmp_path / f"red.{suffix}")[0][0, :, 16, 16].tolist() == [1, 0, 0]
    front = box.face_normals[:, 0] > 0.5
    painted = trimesh.Trimesh(box.vertices, box.faces, face_colors=np.where(front[:, None], blue, red))
    painted.export(tmp_path / "faces.ply")
    assert seen(tmp_path / "faces.ply")[0][0, :, 16, 16].tolist() == [0, 0, 1]


def test_texture_of_an_obj(trimesh, tmp_path):
    # The upper half of the picture is green, the lower blue; v = 1 is its top.
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :, 1] = pixels[4:, :, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "paint.png")
    (tmp_path / "wall.mtl").write_text("newmtl paint\nmap_Kd paint.png\n")
    (tmp_path / "wall.obj").write_text(
        "mtllib wall.mtl\nv 0 -1 -1\nv 0 1 -1\nv 0 1 1\nv 0 -1 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl paint\n"
        "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    )
    images, depths = seen(tmp_path / "wall.obj")
    # The wall of side 1 stands 2 away, so it fills a quarter of the image's side.
    assert images[0, :, 14, 16].tolist() == [0, 1, 0] and images[0, :, 18, 16].tolist() == [0, 0, 1]
    assert depths[0, 16, 16].item() == pytest.approx(2)


def test_scene_of_several_geometries_and_the_axis_that_is_up(trimesh, tmp_path):
    scene = trimesh.Scene()
    for height, color in ((0, [255, 0, 0, 255]), (3, [0, 255, 0, 255])):
        box = trimesh.creation.box()
        box.visual.vertex_colors = [color] * 8
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([0, height, 0]))
    for suffix in ("glb", "gltf"):
        folder = tmp_path / suffix
        folder.mkdir()
        scene.export(folder / f"two.{suffix}") if suffix == "glb" else [
            (folder / name).write_bytes(data) for name, data in scene.export(file_type="gltf").items()
        ]
        (path,) = folder.glob(f"*.{suffix}")
        mesh = read_mesh(path)
        # y of the file is up, so the green box stands above the red one.
        centers = mesh.vertices[mesh.faces].mean(axis=1)
        green = mesh.corner_colors[:, 0, 1] > 0.5
        assert green.sum() == 12 and centers[green, 2].min() > 0.2 > -0.2 > centers[~green, 2].max()
        np.testing.assert_allclose(mesh.vertices.min(axis=0), [-0.125, -0.125, -0.5], atol=1e-6)
        sideways = read_mesh(path, up="z")
        np.testing.assert_allclose(sideways.vertices.max(axis=0), [0.125, 0.5, 0.125], atol=1e-6)


def two_walls() -> Views:
    """A near camera sees only the red wall at x = 0.3; the farther one, from behind, the blue wall at x = -0.3."""
    cameras = look_at(torch.tensor([[1.0, 0, 0], [-3.0, 0, 0]]), fov_degrees=90)
    images = torch.zeros(2, 3, 64, 64)
    images[0, 0] = images[1, 2] = 1
    depths = torch.stack([torch.full((64, 64), 0.7), torch.full((64, 64), 2.7)])
    return Views(images, cameras, depths)


@pytest.mark.parametrize("check_visibility", [False, True])
def test_visibility(check_visibility):
    batch = AtokenVoxelProcessor(16, check_visibility=check_visibility)(**two_walls().arguments())
    x, colors = batch["coords"][:, 1], batch["pixel_values"][:, :3]
    # x = 0.3 and -0.3 lie in the voxels 12 and 3. By definition all take the near view, though red hides the blue wall.
    assert sorted(set(x.tolist())) == [3, 12]
    middle = (batch["coords"][:, 2:] - 7.5).abs().amax(dim=1) < 2
    assert (colors[middle & (x == 12)] == torch.tensor([1.0, -1, -1])).all()
    expected = [-1.0, -1, 1] if check_visibility else [1.0, -1, -1]
    assert (colors[middle & (x == 3)] == torch.tensor(expected)).all()


def test_a_camera_that_looks_away_gives_no_color():
    # A point behind a camera is projected too: upside down, and nearer than any in front of one.
    place = torch.tensor([[2.0, 0, 0]])
    cameras = look_at(place.repeat(2, 1), targets=torch.tensor([[0.0, 0, 0], [4.0, 0, 0]]))
    images = torch.zeros(2, 3, 64, 64)
    images[0, 0] = images[1, 2] = 1
    depths = torch.stack([torch.full((64, 64), 2.0), torch.full((64, 64), -1.0)])
    batch = AtokenVoxelProcessor(16)(**Views(images, cameras, depths).arguments())
    assert (batch["pixel_values"][:, :3] == torch.tensor([1.0, -1, -1])).all()


def test_visual_hull_of_a_ball():
    # The outline of a ball of radius r at distance 2: all rays within asin(r / 2) of the axis.
    cameras = hammersley_cameras(64)
    axis = (torch.arange(512) + 0.5) / 512 - 0.5
    tangent = axis.square()[None] + axis.square()[:, None]
    tangent = tangent.sqrt() / cameras.intrinsics[0, 0, 0]
    mask = tangent < math.tan(math.asin(0.4 / 2))
    coords = visual_hull(mask.expand(64, -1, -1), cameras, 32)
    radii = ((coords + 0.5) / 32 - 0.5).norm(dim=1)
    assert radii.max() < 0.4 + 0.03 and radii.min() > 0.4 - 3**0.5 / 32 - 0.01
    # The ball reaches from 0.1 to 0.9 of the grid, 3.2 to 28.8 voxels; the hull may be one wider.
    assert set(coords.amin(dim=0).tolist()) <= {2, 3} and set(coords.amax(dim=0).tolist()) <= {28, 29}


def test_folders_of_views(tmp_path):
    cameras, size = two_walls().cameras, 8
    poses = torch.linalg.inv(cameras.world_to_camera)
    poses[:, :3, 1:3] *= -1
    frames = [{"file_path": f"v{index}.png", "transform_matrix": pose.tolist()} for index, pose in enumerate(poses)]
    for index in range(2):
        rgba = np.full((size, size, 4), 100 + index, np.uint8)
        rgba[:, :, 3] = 255
        rgba[0, :, 3] = 0
        Image.fromarray(rgba).save(tmp_path / f"v{index}.png")
        np.save(tmp_path / f"d{index}.npy", np.full((size, size), [0.7, 2.7][index]))
        Image.fromarray(np.full((size, size), [700, 2700][index], np.uint16)).save(tmp_path / f"d{index}.png")
        Image.fromarray(np.uint8(np.arange(size)[:, None] * [255] * np.ones((1, size)) > 0) * 255).save(
            tmp_path / f"m{index}.png"
        )

    def read(**keys):
        chosen = [
            {**frame, **{key: name.format(index) for key, name in keys.items()}} for index, frame in enumerate(frames)
        ]
        (tmp_path / "transforms.json").write_text(json.dumps({"frames": chosen, "camera_angle_x": math.pi / 2}))
        return read_views(tmp_path)

    floats, integers = read(depth_file_path="d{}.npy"), read(depth_file_path="d{}.png")
    torch.testing.assert_close(floats.depths, integers.depths)
    assert floats.depths[:, 4, 4].tolist() == pytest.approx([0.7, 2.7]) and floats.masks is None
    torch.testing.assert_close(floats.cameras.world_to_camera, cameras.world_to_camera, atol=1e-6, rtol=0)
    torch.testing.assert_close(floats.cameras.intrinsics, cameras.intrinsics)
    expected = torch.ones(2, size, size, dtype=torch.bool)
    expected[:, 0] = False
    assert torch.equal(read().masks, expected) and torch.equal(read(mask_path="m{}.png").masks, expected)
    assert AtokenProcessor()(voxels=[tmp_path]).media_sizes.tolist() == [[0, 0, 0]]


def test_pictures_of_16_bits(tmp_path):
    pose = torch.linalg.inv(look_at(torch.tensor([[2.0, 0, 0]])).world_to_camera[0])
    pose[:3, 1:3] *= -1
    frame = {"file_path": "a.png", "mask_path": "m.png", "transform_matrix": pose.tolist()}
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [frame], "camera_angle_x": 0.7}))
    values = np.array([[0, 257, 30000, 65535]], np.uint16)
    for name in ("a.png", "m.png"):
        Image.fromarray(values).save(tmp_path / name)
    views = read_views(tmp_path)
    assert views.images[0, 0, :, 0].tolist() == [0, 1, 117, 255]  # 30000 / 257 = 116.7
    assert views.masks.tolist() == [[[False, False, False, True]]]
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "m.tiff")
    frame["mask_path"] = "m.tiff"
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [frame], "camera_angle_x": 0.7}))
    with pytest.raises(ValueError, match="mask_path must be a picture of 8 or 16 bits, got one of mode F"):
        read_views(tmp_path)


LENS = {"fl_x": 40.0, "fl_y": 44.0, "cx": 30.0, "cy": 17.0}
OBLONG = {  # what transforms.json says -> fx, fy, cx, cy in pixels of a picture of 48 x 32
    "all in pixels": ({**LENS, "w": 48, "h": 32}, (40, 44, 30, 17)),
    "pixels of larger pictures": ({**{k: 2 * v for k, v in LENS.items()}, "w": 96, "h": 64}, (40, 44, 30, 17)),
    "no size": (LENS, (40, 44, 30, 17)),
    "one focal length": ({"fl_x": 40.0, "w": 48, "h": 32}, (40, 40, 24, 16)),
    "one angle": ({"camera_angle_x": 2 * math.atan(0.6)}, (40, 40, 24, 16)),
    "the other angle": ({"camera_angle_y": 2 * math.atan(0.4)}, (40, 40, 24, 16)),
    "two angles": ({"camera_angle_x": 2 * math.atan(0.6), "camera_angle_y": 2 * math.atan(0.32)}, (40, 50, 24, 16)),
    "an angle beside pixels": ({"fl_x": 40.0, "camera_angle_y": 1.0, "w": 48, "h": 32}, (40, 40, 24, 16)),
    "a pinhole with coefficients": ({**LENS, "w": 48, "h": 32, "camera_model": "OPENCV", "k1": 0, "p2": 0.0}, None),
}


@pytest.mark.filterwarnings("ignore:.*outside of")
@pytest.mark.parametrize("place", ["document", "frame"])
@pytest.mark.parametrize("case", OBLONG)
def test_oblong_pictures_are_unprojected_with_their_own_lens(tmp_path, case, place):
    """The points of a depth map, by the formula in float64, pixel by pixel."""
    entries, lens = OBLONG[case]
    fx, fy, cx, cy = lens or LENS.values()
    rng = np.random.default_rng(0)
    depth = rng.uniform(1.7, 2.2, (32, 48))
    np.save(tmp_path / "d.npy", depth)
    Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)).save(tmp_path / "a.png")
    # OpenGL: from (0, 0, 2) down the world's z axis, y up.
    pose = np.eye(4)
    pose[2, 3] = 2
    frame = {"file_path": "a.png", "depth_file_path": "d.npy", "transform_matrix": pose.tolist()}
    document = {"frames": [{**frame, **entries}]} if place == "frame" else {"frames": [frame], **entries}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    views = read_views(tmp_path)
    row, column = np.mgrid[:32, :48]
    expected = np.stack([(column - cx) / fx * depth, -(row - cy) / fy * depth, 2 - depth], axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(unproject(views.depths, views.cameras).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("wide", [True, False])
def test_oblong_pictures_give_the_voxels_and_colors_of_square_ones(wide):
    """Pictures that are cut off where nothing of the object is, from lenses whose middle stays where it was."""
    size, cut = 64, 16
    rng = np.random.default_rng(0)
    picture, depth = np.zeros((size, size, 3), np.uint8), np.full((size, size), -1.0)
    left = (slice(None, size - cut), slice(None)) if wide else (slice(None), slice(None, size - cut))
    picture[left] = rng.integers(0, 256, picture[left].shape, np.uint8)
    depth[16:48, 16:48] = rng.uniform(1.6, 2.4, (32, 32))
    cameras = hammersley_cameras(6)
    height, width = depth[left].shape
    stretch = torch.tensor([size / width, size / height, 1.0])[:, None]

    def voxels(region, cameras):
        images, depths = (torch.from_numpy(array[region].copy()) for array in (picture, depth))
        views = Views(images.expand(6, -1, -1, -1), cameras, depths.expand(6, -1, -1))
        return AtokenVoxelProcessor(16)(**views.arguments())

    one = voxels(slice(None), cameras)
    other = voxels(left, Cameras(cameras.world_to_camera, cameras.intrinsics * stretch))
    assert torch.equal(one["coords"], other["coords"]) and len(one["coords"]) > 200
    torch.testing.assert_close(one["pixel_values"], other["pixel_values"])


def test_a_surface_outside_of_the_cube_is_named(tmp_path):
    np.save(tmp_path / "d.npy", np.full((8, 8), [0.5] * 4 + [2.0] * 4))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    pose = np.eye(4)
    pose[2, 3] = 2
    frame = {"file_path": "a.png", "depth_file_path": "d.npy", "transform_matrix": pose.tolist()}
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [frame], "camera_angle_x": 0.3}))
    with pytest.warns(MediaWarning, match=r"transforms.json: 50% of the surface .* outside"):
        read_views(tmp_path)


def test_mesh_file_and_mixed_batch(trimesh, tmp_path):
    trimesh.creation.box().export(tmp_path / "box.glb")
    processor = AtokenProcessor()
    views = mesh_views(tmp_path / "box.glb", size=64)
    assert views.images.shape == (16, 3, 64, 64) and views.depths.shape == (16, 64, 64)
    batch = processor(images=photo(), videos=clip(), voxels=[views, two_walls().arguments()])
    assert batch.media_sizes.tolist() == [[1, 70, 90], [17, 34, 50], [0, 0, 0], [0, 0, 0]]
    alone = AtokenVoxelProcessor()(**views.arguments())
    start, stop = batch.cu_seqlens[2:4].tolist()
    assert torch.equal(batch.pixel_values[start:stop], alone["pixel_values"])
    picture, frames, voxels, walls = processor.post_process(**batch)
    assert picture.shape == (3, 70, 90) and frames.shape == (17, 3, 34, 50)
    assert torch.equal(voxels.coords, alone["coords"][:, 1:])
    assert voxels.patches.shape == (len(voxels.coords), 3, 16, 16)
    torch.testing.assert_close(
        voxels.patches.permute(0, 2, 3, 1).flatten(1), (alone["pixel_values"][:, :768] + 1) / 2, atol=1e-6, rtol=0
    )
    assert set(map(tuple, walls.patches[:, :, 0, 0].round().int().tolist())) <= {(1, 0, 0), (0, 0, 1), (0, 0, 0)}
    arrays = processor.post_process(**batch, output_type="np")[2]
    assert arrays.patches.dtype == np.uint8 and arrays.patches.shape == (len(voxels.coords), 16, 16, 3)
    file = processor(voxels=str(tmp_path / "box.glb"))
    assert file.media_sizes.tolist() == [[0, 0, 0]] and (file.coords[:, 1:].amin(), file.coords.amax()) == (0, 63)


def test_processor_keeps_its_voxel_part(tmp_path):
    from transformers import AutoProcessor

    AtokenProcessor(voxel_processor=AtokenVoxelProcessor(32, check_visibility=True)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "processor_config.json").read_text())
    assert config["voxel_processor"]["resolution"] == 32
    for loaded in (AtokenProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert loaded.voxel_processor.resolution == 32 and loaded.voxel_processor.check_visibility
        assert loaded(voxels=two_walls()).coords.max() < 32
    # A folder from before there were voxels.
    del config["voxel_processor"]
    (tmp_path / "processor_config.json").write_text(json.dumps(config))
    assert AtokenProcessor.from_pretrained(tmp_path).voxel_processor.resolution == 64


def test_half_a_million_points():
    points = torch.nn.functional.normalize(torch.randn(500_000, 3, generator=torch.Generator().manual_seed(0))) * 0.5
    expected = np.unique(((points.double().numpy() + 0.5) * 64).astype(int), axis=0)
    found = occupied_voxels(points, 64)
    assert np.array_equal(found.numpy(), expected[(expected < 64).all(axis=1)])
