"""The three doors for code of others: reconstructions in a folder, a command, and a class that a file names."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.models.named_classes import named_embedder, named_tokenizer
from atoken.evaluation.models.stored_reconstructions import CommandReconstructions, FolderReconstructions
from atoken.evaluation.reconstruction import round_trips
from atoken.evaluation.runner import evaluate, use_gpu
from atoken.evaluation.sets.image_sets import image_folder
from atoken.evaluation.sets.object_sets import object_folder, toys4k
from atoken.evaluation.write_samples import main as write_samples
from atoken.evaluation.write_samples import write_one
from atoken.processing.cameras_atoken import read_transforms
from atoken.tokenizing.objects import compared_cameras

from ...processing.samples import photo

SIDE = 32
# Darker by 3 everywhere: PSNR is 20 log10(255 / 3), whatever the picture, as none of them is nearly black.
DARKER = 3
EXPECTED_PSNR = 20 * np.log10(255 / DARKER)
SCRIPT = f"""
import sys
from pathlib import Path
import numpy as np
from PIL import Image
source, target = map(Path, sys.argv[1:3])
for path in source.rglob("*.png"):
    place = target / path.relative_to(source)
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(Image.open(path)) - np.uint8({DARKER})).save(place)
"""
CLASSES = """
from atoken.evaluation.interface import Embedder, Encoded, MediaTokenizer

class Darker(MediaTokenizer):
    kinds = frozenset({"image"})
    name = "darker"
    def __init__(self, by=1):
        self.by = by
    def encode(self, media):
        return Encoded(media - self.by, 8, (1,))
    def decode(self, encoded):
        return encoded.payload
    def describe(self):
        return {"by": self.by}

class Other:
    pass
"""


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        path = Path("pictures") / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(photo(40, 56, index), 64, 192)).save(path)
    Path("darker.py").write_text(SCRIPT)
    Path("classes.py").write_text(CLASSES)
    return tmp_path


def config(**tokenizers) -> Path:
    values = {
        "title": "Doors",
        "measures": ["psnr"],
        "chunk_size": 2,
        "sets": {"pictures": {"set": "image-folder", "folder": "pictures", "size": SIDE}},
        "tokenizers": tokenizers,
    }
    Path("config.yaml").write_text(yaml.safe_dump(values))
    return Path("config.yaml")


RUN = [sys.executable, "darker.py", "{input}", "{output}"]


def test_all_three_doors_give_the_same_numbers(work):
    write_samples(config(x={"adapter": "image-codec", "codec": "jpeg", "bits_per_pixel": 1.0}), "pictures", Path("in"))
    assert sorted(path.relative_to("in").as_posix() for path in Path("in").rglob("*.png")) == [
        "a/0.png",
        "a/2.png",
        "b/1.png",
    ]
    for path in Path("in").rglob("*.png"):
        target = Path("out") / path.relative_to("in")
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target.with_suffix(".npy"), np.asarray(Image.open(path)) - np.uint8(DARKER))
    path = config(
        folder={"adapter": "folder", "path": "out", "bits_per_pixel": 0.5, "describe": {"code": "theirs"}},
        command={"adapter": "command", "run": RUN},
        python={"adapter": "python", "target": "classes.py:Darker", "options": {"by": DARKER}},
    )
    found = evaluate(path, Path("results")).results
    assert [one.numbers["psnr"] for one in found] == pytest.approx([EXPECTED_PSNR] * 3, abs=1e-4)
    command, folder, python = found
    assert folder.numbers["bits"] == SIDE**2 / 2 and folder.numbers["bits_per_pixel"] == 0.5
    assert "bits" not in command.numbers and len(command.protocol["model"]["files"]["darker.py"]) == 64
    assert folder.protocol["model"]["described"] == {"code": "theirs"}
    model = python.protocol["model"]
    assert model["by"] == DARKER and model["target"] == "classes.py:Darker" and len(model["sha256"]) == 64
    # Pictures of the worst samples are drawn for all of them.
    assert len(list(Path("results/worst").rglob("*.png"))) == 9
    assert json.loads(Path("results/results.json").read_text())["results"]


def test_a_missing_reconstruction_is_said_before_any_work(work):
    Path("out").mkdir()
    path = config(folder={"adapter": "folder", "path": "out"})
    with pytest.raises(FileNotFoundError, match="3 of 3 reconstructions are missing"):
        evaluate(path, Path("results"))
    assert not Path("results").exists()


def test_another_size_is_named(work):
    for name in ("a/0", "a/2", "b/1"):
        target = Path("out") / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE - 1)).save(target)
    with pytest.raises(ValueError, match=r"reconstruction of a/0.png must be \(1, 3, 32, 32\).*got \(1, 3, 31, 32\)"):
        evaluate(config(folder={"adapter": "folder", "path": "out"}), Path("results"))


def test_a_command_that_fails_says_what_it_said(work):
    samples = image_folder("pictures", SIDE)
    failing = CommandReconstructions([sys.executable, "-c", "raise SystemExit('no weights')", "{input}", "{output}"])
    with pytest.raises(ValueError, match="end with code 0, got 1 of .*: no weights"):
        list(failing.reconstruct(samples, [0]))
    silent = CommandReconstructions([sys.executable, "-c", "", "{input}", "{output}"])
    with pytest.raises(FileNotFoundError, match="run must have a reconstruction of every sample"):
        list(silent.reconstruct(samples, [0]))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"run": ["python", "{input}"]}, ValueError, r"run must have \{output\} among its arguments"),
        ({"run": "python {input} {output}"}, ValueError, "no list of a command"),
        ({"run": ["no-such-program", "{input}", "{output}"]}, FileNotFoundError, "got no-such-program"),
        ({"run": RUN, "kinds": ["object"]}, ValueError, "take `folder` for objects"),
        ({"run": RUN, "kinds": ["sound"]}, ValueError, "kinds must be some of image, video, object, got sound"),
        ({"run": RUN, "kinds": []}, ValueError, "kinds must be .*got none"),
        ({"run": RUN, "bits_per_pixel": 0}, ValueError, "bits_per_pixel must be a positive number, got 0"),
    ],
)
def test_bad_commands(options, error, says):
    with pytest.raises(error, match=says):
        CommandReconstructions(**options)


def test_bits_of_a_folder(work):
    Path("out").mkdir()
    assert FolderReconstructions("out", 0.25).bits((4, 3, 8, 8)) == 64
    assert FolderReconstructions("out").bits((4, 3, 8, 8)) is None


def test_classes_by_their_module(work):
    class_path = "atoken.evaluation.models.object_baselines:FlatVoxels"
    model = named_tokenizer(class_path)
    assert model.describe()["bits_per_voxel"] == 42 and model.describe()["target"] == class_path


@pytest.mark.parametrize(
    ("target", "options", "error", "says"),
    [
        ("classes.py", {}, ValueError, 'target must be "package.module:Class"'),
        ("nowhere.py:Darker", {}, FileNotFoundError, "a file that is there, got nowhere.py"),
        ("no.such.module:Darker", {}, FileNotFoundError, "a module that can be imported, got no.such.module"),
        ("pathlib.Path:home", {}, ValueError, "the name of a module before the colon"),
        ("classes.py:Nobody", {}, ValueError, "subclass of MediaTokenizer or .*: no such name"),
        ("classes.py:Other", {}, ValueError, "subclass of MediaTokenizer or .*a type that is none"),
        ("classes.py:Darker", {"to": 1}, ValueError, r"options must be those of \(by=1\), got to"),
    ],
)
def test_bad_names_of_classes(work, target, options, error, says):
    with pytest.raises(error, match=says):
        named_tokenizer(target, options)


def test_an_embedder_must_be_one(work):
    with pytest.raises(ValueError, match="subclass of Embedder"):
        named_embedder("classes.py:Darker")


def test_an_unknown_option_of_a_door_is_found_when_the_file_is_read(work):
    with pytest.raises(ValueError, match="tokenizers: folder: options must be those of .*got paht"):
        EvaluationConfig.read(config(folder={"adapter": "folder", "paht": "out"}))


def test_processes_take_gpus_in_turns(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for rank in range(6):
        use_gpu(rank)
    assert taken == [0, 1, 2, 3, 0, 1]


def test_objects_are_compared_at_the_size_of_their_set(tmp_path):
    for name in ("toy/a/a.glb", "toy/b/b.glb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    (tmp_path / "list.txt").write_text("toy/a/a.glb\n")
    found = toys4k(str(tmp_path), str(tmp_path / "list.txt"), limit=1)
    assert found.view_size == 512 and "512 px" in found.protocol["views"]
    assert object_folder(str(tmp_path), 128).view_size == 128 and object_folder(str(tmp_path)).view_size == 256
    with pytest.raises(ValueError, match="size must be positive, got 0"):
        object_folder(str(tmp_path), 0)


def test_views_of_objects_go_through_a_folder(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    (tmp_path / "meshes").mkdir()
    trimesh.creation.box((1.0, 0.5, 0.3)).export(tmp_path / "meshes/box.glb")
    samples = object_folder(str(tmp_path / "meshes"), 16)
    write_one(samples, 0, "box", tmp_path / "views")
    stored = FolderReconstructions(str(tmp_path / "views"), kinds=["object"])
    stored.check(samples)
    (trip,) = round_trips(stored, samples, [0])
    assert trip.original.shape == (8, 3, 16, 16) and torch.equal(trip.original, trip.result) and trip.bits is None
    found, _, _ = read_transforms(tmp_path / "views/box/transforms.json")
    torch.testing.assert_close(found.world_to_camera, compared_cameras().world_to_camera, atol=1e-5, rtol=0)
