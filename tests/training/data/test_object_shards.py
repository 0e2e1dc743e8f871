"""Shards of objects: what training reads of them, meshes that crash or never end, stopping, sharing, and plans."""

import json
import os
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load, save_file

from atoken.processing import AtokenVoxelProcessor, hammersley_cameras
from atoken.training.data import object_shard_writing, prepare_object_shards
from atoken.training.data.drawn_sources import OPENERS
from atoken.training.data.object_manifest import ListedObject
from atoken.training.data.object_shard_writing import Preparation, prepare_object, write_shard
from atoken.training.data.object_shards import EncodedPictures, encode_pictures, open_object
from atoken.training.data.prepare_object_shards import main, parse_share, shards_of
from atoken.training.data.prepare_objects import prepare
from atoken.training.data.samples import Limits, make_sample
from atoken.training.data.sources import open_source
from atoken.training.data.worker_apart import WorkerApart

VOXELS, VIEWS, SIZE = 7, 5, 12


def tensors_of(name: str) -> dict[str, torch.Tensor]:
    """What stands in for the preparation of a mesh: numbers that follow from the name."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    cameras = hammersley_cameras(VIEWS, generator=generator)
    return {
        "coords": torch.randint(0, 64, (VOXELS, 3), generator=generator, dtype=torch.uint8),
        "rgb": torch.randint(0, 256, (VOXELS, 768), generator=generator, dtype=torch.uint8),
        "images": torch.randint(0, 256, (VIEWS, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        "world_to_camera": cameras.world_to_camera,
        "intrinsics": cameras.intrinsics,
    }


def stand_in(path, processor, views, size, max_voxels, seed_name):
    if seed_name.startswith("broken"):
        raise ValueError("no faces")
    with open(path, "a") as counted:
        counted.write("x")
    return tensors_of(seed_name)


def fatal(each, waiting, preparation):
    """What stands in for meshes that end or hold their process; runs there."""
    if each.name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if each.name.startswith("endless"):
        signal.pause()
    object_shard_writing.prepare = stand_in
    prepare_object(each, waiting, preparation)


class InPlace:
    """Stands in for a process."""

    def __init__(self, function=prepare_object):
        self.function = function

    def run(self, *arguments, seconds):
        self.function(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def fast(monkeypatch):
    """Objects without meshes, in this process."""
    monkeypatch.setattr(object_shard_writing, "prepare", stand_in)
    monkeypatch.setattr(prepare_object_shards, "WorkerApart", InPlace)


def listed(folder: Path, *names: str) -> list[ListedObject]:
    return [ListedObject(name, folder / f"{name}.count", f"a {name}") for name in names]


def source(out: Path):
    return open_source({"source": "object-shards", "path": str(out)}, "object", 0, openers=OPENERS)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_training_reads_of_a_shard_what_it_reads_of_a_file(fast, tmp_path):
    out = tmp_path / "out"
    assert write_shard(out, 0, listed(tmp_path, "cup", "ball"), Preparation(), InPlace()) == {
        "prepared": 2,
        "passed over": 0,
    }
    found = source(out)
    assert found.length == 2
    for index, name in enumerate(("cup", "ball")):
        save_file(tensors_of(name), tmp_path / f"{name}.safetensors", metadata={"caption": f"a {name}"})
        example = found.read(index)
        assert example["caption"] == f"a {name}"
        loose = {"media": tmp_path / f"{name}.safetensors", "caption": f"a {name}"}
        for task in ("3d_reconstruction", "3d_understanding"):
            ours, theirs = (
                make_sample(task, one, Limits(views=3, object_voxels=4), np.random.default_rng(5))
                for one in (example, loose)
            )
            assert torch.equal(ours.pixel_values, theirs.pixel_values) and torch.equal(ours.coords, theirs.coords)
            assert ours.caption == theirs.caption
            if task == "3d_reconstruction":
                assert torch.equal(ours.views, theirs.views)
                assert torch.equal(ours.cameras.world_to_camera, theirs.cameras.world_to_camera)


def test_a_damaged_object_of_a_shard_is_named(fast, tmp_path):
    write_shard(tmp_path, 0, listed(tmp_path, "cup", "ball"), Preparation(), InPlace())
    tar, found = tmp_path / "objects-000000.tar", source(tmp_path)
    start, _ = found.read(1)["media"].views
    content = tar.read_bytes()
    tar.write_bytes(content[:start] + b"\xff" * 8 + content[start + 8 :])
    media = found.read(1)["media"]
    assert torch.equal(media["rgb"], tensors_of("ball")["rgb"])
    with pytest.raises(ValueError, match=f"objects must be whole, got {tar} at byte {start}, which is not"):
        media["images"]
    with pytest.raises(ValueError, match="objects must be whole, got one that is given as bytes"):
        open_object(b"no object")


def test_a_shard_is_a_tar_and_understanding_reads_no_views(fast, tmp_path):
    write_shard(tmp_path / "out", 3, listed(tmp_path, "cup"), Preparation(), InPlace())
    with tarfile.open(tmp_path / "out/objects-000003.tar") as tar:
        assert tar.getnames() == ["cup.safetensors", "cup.views.safetensors"]
        assert torch.equal(load(tar.extractfile("cup.safetensors").read())["rgb"], tensors_of("cup")["rgb"])
    example = source(tmp_path / "out").read(0)
    make_sample("3d_understanding", example, Limits(), np.random.default_rng(0))
    assert "_tokens" in vars(example["media"]) and "_views" not in vars(example["media"])
    assert open_object(example["media"])["images"][torch.tensor([4])].shape == (1, 3, SIZE, SIZE)


def test_pictures_come_back_as_they_were():
    images = tensors_of("x")["images"]
    encoded = encode_pictures(images)
    pictures = EncodedPictures(encoded["pictures"], encoded["starts"])
    assert len(pictures) == VIEWS and torch.equal(pictures[torch.tensor([3, 0])], images[[3, 0]])


def test_what_crashes_or_never_ends_is_passed_over(tmp_path):
    objects = listed(tmp_path, "cup", "broken", "crash", "endless")
    with WorkerApart(fatal) as worker:
        counts = write_shard(tmp_path / "out", 0, objects, Preparation(seconds=5.0), worker)
    assert counts == {"prepared": 1, "passed over": 3}
    index = json.loads((tmp_path / "out/objects-000000.json").read_text())
    assert [each["name"] for each in index["objects"]] == ["cup"]
    assert index["skipped"] == {
        "crash": "its process ended by SIGSEGV",
        "endless": "it took longer than 5 seconds",
        "broken": "no faces",
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["objects-000000.json", "objects-000000.tar"]


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(fast, tmp_path, monkeypatch):
    objects, undisturbed = listed(tmp_path, "cup", "ball", "box"), tmp_path / "undisturbed"
    write_shard(undisturbed, 0, objects, Preparation(), InPlace())
    for each in objects:
        each.path.unlink()
    out, usual, calls = tmp_path / "out", object_shard_writing._prepare_apart, []

    def stop(each, *others):
        calls.append(each.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        usual(each, *others)

    monkeypatch.setattr(object_shard_writing, "_prepare_apart", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shard(out, 0, objects, Preparation(), InPlace())
    assert not list(out.glob("objects-*"))
    write_shard(out, 0, objects, Preparation(), InPlace())
    assert calls == ["cup", "ball", "box", "box"] and [each.path.read_text() for each in objects] == ["x"] * 3
    assert contents(out) == contents(undisturbed)
    # A shard that is there is left alone, and one that was cut off is made again.
    write_shard(out, 0, objects, Preparation(), InPlace())
    assert len(calls) == 4
    tar = out / "objects-000000.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    torn = source(out).read(2)["media"]
    with pytest.raises(ValueError, match="shards must be whole"):
        torn["rgb"]
    write_shard(out, 0, objects, Preparation(), InPlace())
    assert contents(out) == contents(undisturbed)


def test_shares_are_all_shards_once():
    objects = listed(Path(), *(f"o{index}" for index in range(23)))
    shares = [shards_of(objects, 4, share, 3) for share in range(3)]
    merged = {shard: part for one in shares for shard, part in one.items()}
    assert sum(map(len, shares)) == len(merged) == 6
    assert [each for shard in sorted(merged) for each in merged[shard]] == objects
    assert parse_share("2/3") == (2, 3)
    for text in ("3/3", "0/0", "1", "-1/2", "a/b"):
        with pytest.raises(ValueError, match='share must be "I/N"'):
            parse_share(text)


OPTIONS = {"views": 2, "size": 16, "max_voxels": 20000, "check_visibility": True, "seconds": 100.0, "per_shard": 1}


def run_main(manifest: Path, out: Path, shard: str = "0/1", processes: int = 1, **changes) -> None:
    main(manifest, out, None, None, **{**OPTIONS, **changes}, shard=shard, processes=processes)


def test_another_plan_is_refused(fast, tmp_path):
    pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    manifest, out = tmp_path / "list.csv", tmp_path / "out"
    manifest.write_text("path\ncup.count\nball.count\n")
    run_main(manifest, out)
    before = contents(out)
    with pytest.raises(typer.BadParameter, match="out must be a new folder.*of views 2 and not 3"):
        run_main(manifest, out, views=3)
    with pytest.raises(typer.BadParameter, match="size must be positive, got 0"):
        run_main(manifest, out, size=0)
    run_main(manifest, out, seconds=5.0)
    assert contents(out) == before
    manifest.write_text("path\ncup.count\n")
    with pytest.raises(typer.BadParameter, match="of objects 2 and not 1"):
        run_main(manifest, out)


def test_meshes_in_two_processes_are_what_prepare_makes(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    for index, name in enumerate(("plate", "stick")):
        trimesh.creation.box((1.0, 0.1, 0.3 + 0.1 * index)).export(tmp_path / f"{name}.glb")
    manifest = tmp_path / "list.jsonl"
    rows = [{"path": f"{name}.glb", "caption": f"a {name}"} for name in ("plate", "stick", "missing")]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    run_main(manifest, tmp_path / "both", processes=2)
    assert prepare_object_shards.PLAN in contents(tmp_path / "both")
    found = source(tmp_path / "both")
    assert found.length == 2 and found.read(1)["caption"] == "a stick"
    processor = AtokenVoxelProcessor(check_visibility=True)
    expected = prepare(tmp_path / "stick.glb", processor, 2, 16, 20000, seed_name="stick")
    stored = found.read(1)["media"]
    for name in ("coords", "rgb", "world_to_camera", "intrinsics"):
        assert torch.equal(stored[name], expected[name])
    assert torch.equal(stored["images"][torch.arange(2)], expected["images"])
    skipped = json.loads((tmp_path / "both/objects-000002.json").read_text())["skipped"]
    assert "missing.glb" in skipped["missing"]
