"""Clips of turning meshes: which objects, and how they move."""

import json
import random

import av
import numpy as np
import torch
from PIL import Image

from atoken.training.recipes.tiny.turning_clips import FRAMES, cameras_around, in_turn, main

OBJ = """mtllib {0}.mtl
v -1 -1 0
v 1 -1 0
v 0 1 0
v 0 0 1
vt 0 0
vt 1 0
vt 0 1
usemtl m
f 1/1 2/2 3/3
f 1/1 2/2 4/3
"""


def write_object(folder, name, picture):
    (folder / f"{name}.obj").write_text(OBJ.format(name))
    (folder / f"{name}.mtl").write_text("newmtl m\nKd 1 0 0\n" + (f"map_Kd {name}.png\n" if picture else ""))
    if picture:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{name}.png")


def test_sources_take_turns_by_the_root_of_their_objects():
    manifest = [{"name": f"a/{i}", "source": "a", "split": "train"} for i in range(900)]
    manifest += [{"name": f"b/{i}", "source": "b", "split": "train"} for i in range(100)]
    manifest += [{"name": f"c{i}", "source": "c", "split": "test"} for i in range(3)]
    order = in_turn(manifest)
    assert len(order) == len({entry["name"] for entry in order}) == 1000
    for count in (8, 40, 80):
        assert sum(entry["source"] == "b" for entry in order[:count]) == count // 4
    assert in_turn(manifest[::-1]) == order


def test_cameras_look_at_the_origin_from_a_smooth_way_around_it():
    for seed in range(5):
        cameras = cameras_around(random.Random(seed))
        places = cameras.positions
        assert places.shape == (FRAMES, 3)
        distance = places.norm(dim=1)
        assert distance.min() > 1.2 and distance.max() < 2.5
        middle = cameras.world_to_camera[:, :3, 3] / distance[:, None]
        assert torch.allclose(middle, torch.tensor([0.0, 0.0, 1.0]).expand(FRAMES, 3), atol=1e-5)
        steps = (places[1:] - places[:-1]).norm(dim=1)
        assert steps.min() > 0.01 and steps.max() < 0.4
        assert (steps[1:] - steps[:-1]).abs().max() < 0.02


def test_textured_training_objects_become_clips_and_are_left_alone_afterwards(tmp_path):
    entries = []
    for name, split, picture in (("plain", "train", False), ("wood", "train", True), ("kept", "heldout", True)):
        write_object(tmp_path, name, picture)
        entries.append({"name": name, "source": "s", "split": split, "file": f"{name}.obj"})
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    out = tmp_path / "clips"
    main(tmp_path, out)
    assert [path.name for path in out.iterdir()] == ["wood.mp4"]
    with av.open(str(out / "wood.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == FRAMES and frames[0].shape == (256, 256, 3)
    changes = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:], strict=False)]
    assert min(changes) > 0.05
    written = (out / "wood.mp4").stat().st_mtime_ns
    main(tmp_path, out, count=1)
    assert (out / "wood.mp4").stat().st_mtime_ns == written
