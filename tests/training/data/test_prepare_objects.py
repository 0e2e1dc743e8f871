"""Preparing objects: what is written for one, its order, resuming, and passing over what cannot be prepared."""

import json

import pytest
import torch
from safetensors.torch import load_file

from atoken.processing import AtokenVoxelProcessor, hammersley_cameras
from atoken.training.data.prepare_objects import TooManyVoxels, in_order, main, prepare

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")

# A red plate: 1 x 0.5 x 0.125 of its own lengths, so that its voxels are few and known.
EXTENTS, RED = (1.0, 0.5, 0.125), (255, 0, 0, 255)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    """Writes a collected folder of two plates, one held out, and a file that is not a mesh."""
    root = tmp_path_factory.mktemp("meshes")
    entries = [("plate", "train"), ("other", "heldout"), ("broken", "train")]
    for name, split in entries:
        target = root / split / name / f"{name}.glb"
        target.parent.mkdir(parents=True)
        if name == "broken":
            target.write_bytes(b"no mesh")
        else:
            # glTF's y axis points up: the thin side is the last one after reading.
            box = trimesh.creation.box((EXTENTS[0], EXTENTS[2], EXTENTS[1]))
            box.visual.face_colors = RED
            box.export(target)
    manifest = [{"name": name, "split": split, "file": f"{split}/{name}/{name}.glb"} for name, split in entries]
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


@pytest.fixture(scope="module")
def tensors(meshes):
    path = meshes / "train/plate/plate.glb"
    return prepare(path, AtokenVoxelProcessor(resolution=16), views=16, size=32, max_voxels=9000)


def test_tensors_of_one_object(tensors):
    count = len(tensors["coords"])
    shapes = {
        "coords": ((count, 3), torch.uint8),
        "rgb": ((count, 768), torch.uint8),
        "images": ((16, 3, 32, 32), torch.uint8),
        "world_to_camera": ((16, 4, 4), torch.float32),
        "intrinsics": ((16, 3, 3), torch.float32),
        "surface": ((count, 16, 3), torch.uint8),
        "surface_normals": ((count, 16, 3), torch.int8),
        "surface_rgb": ((count, 16, 3), torch.uint8),
        "surface_counts": ((count,), torch.uint8),
    }
    assert {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()} == shapes
    # In a grid of 16 the plate spans 16 x 8 x 2 voxels, about the middle; a face on a boundary may touch the next.
    low, high = tensors["coords"].int().amin(0), tensors["coords"].int().amax(0)
    assert all(abs(int(value) - expected) <= 1 for value, expected in zip(low, (0, 4, 7), strict=True))
    assert all(abs(int(value) - expected) <= 1 for value, expected in zip(high, (15, 11, 8), strict=True))
    # Red on black: nothing else is in the pictures or, but for what lies beside the plate, in the patches.
    assert not tensors["images"][:, 1:].any() and not tensors["rgb"].unflatten(1, (256, 3))[..., 1:].any()
    assert int(tensors["images"][:, 0].amax()) == 255 and not tensors["images"][:, :, 0, 0].any()


def test_target_cameras_are_the_objects_own_and_none_of_those_that_are_encoded(tensors, meshes):
    processor = AtokenVoxelProcessor(resolution=16)
    first = tensors["world_to_camera"]
    again, other = (
        prepare(meshes / path, processor, views=16, size=8, max_voxels=9000)["world_to_camera"]
        for path in ("train/plate/plate.glb", "heldout/other/other.glb")
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)
    encoded = hammersley_cameras(16).world_to_camera
    assert (first[:, None] - encoded).abs().amax((2, 3)).min() > 1e-3


def test_an_object_with_too_many_voxels_is_refused(meshes):
    with pytest.raises(TooManyVoxels, match=r"object must have at most 10 voxels, got \d+"):
        prepare(meshes / "train/plate/plate.glb", AtokenVoxelProcessor(resolution=16), 1, 8, max_voxels=10)


def test_held_out_objects_come_first_and_the_seed_decides_on_the_others(tmp_path):
    manifest = [{"name": f"{split}{index:02}", "split": split} for index in range(20) for split in ("train", "heldout")]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    names = [entry["name"] for entry in in_order(tmp_path, seed=0)]
    assert names[:20] == [f"heldout{index:02}" for index in range(20)]
    assert sorted(names[20:]) == [f"train{index:02}" for index in range(20)] != names[20:]
    assert names == [entry["name"] for entry in in_order(tmp_path, seed=0)]
    assert names != [entry["name"] for entry in in_order(tmp_path, seed=1)]


def run_main(meshes, out, max_voxels=20000):
    main(meshes, out, views=1, size=16, max_voxels=max_voxels, limit=None, check_visibility=True, seed=0)


def test_a_run_resumes_and_records_what_it_passes_over(meshes, tmp_path):
    out = tmp_path / "objects"
    run_main(meshes, out, max_voxels=10)
    # The limit is for the training split alone: what is measured does not depend on it.
    assert [path.name for path in out.glob("*/*")] == ["other.safetensors"]
    skipped = json.loads((out / "skipped.json").read_text())
    assert skipped.keys() == {"plate", "broken"}
    assert "at most 10 voxels" in skipped["plate"]["reason"] and skipped["plate"]["voxels"] > 10
    assert "broken.glb" in skipped["broken"]["reason"]

    (out / "heldout/other.safetensors").write_bytes(b"mine")
    run_main(meshes, out)
    assert (out / "heldout/other.safetensors").read_bytes() == b"mine"
    assert load_file(out / "train/plate.safetensors")["images"].shape == (1, 3, 16, 16)
    assert json.loads((out / "skipped.json").read_text()).keys() == {"broken"}
    assert sorted(path.name for path in out.rglob("*.*")) == ["other.safetensors", "plate.safetensors", "skipped.json"]


def test_what_is_known_to_be_too_large_is_not_rendered_again(meshes, tmp_path, monkeypatch):
    out = tmp_path / "objects"
    run_main(meshes, out, max_voxels=10)
    rendered = []

    def note(path, *options):
        rendered.append(path.stem)
        raise ValueError("no faces")

    monkeypatch.setattr("atoken.training.data.prepare_objects.prepare", note)
    run_main(meshes, out, max_voxels=10)
    assert rendered == ["broken"]
    run_main(meshes, out)
    assert sorted(rendered) == ["broken", "broken", "plate"]


def test_a_run_that_is_stopped_has_its_record(meshes, tmp_path, monkeypatch):
    out, calls = tmp_path / "objects", []

    def stop(path, *options):
        calls.append(path.stem)
        if len(calls) == 2:
            raise KeyboardInterrupt
        raise ValueError("no faces")

    monkeypatch.setattr("atoken.training.data.prepare_objects.prepare", stop)
    with pytest.raises(KeyboardInterrupt):
        run_main(meshes, out)
    assert json.loads((out / "skipped.json").read_text()) == {"other": {"reason": "no faces"}}
