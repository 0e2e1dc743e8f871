"""3D objects of pictures through the harness: numbers by the measures' own functions, baselines, files, and stops."""

import pytest
import torch
import yaml
from PIL import Image

from atoken.evaluation import pictured_objects
from atoken.evaluation.metrics.object_measures import measured
from atoken.evaluation.models.object_generators import (
    ImageToObjectSamples,
    MeanKnownObject,
    NearestKnownObject,
    TrueTokens,
)
from atoken.evaluation.pictured_objects import pictured, true_object
from atoken.evaluation.runner import evaluate
from atoken.evaluation.sets.miniature_sets import miniature_objects

from ..generation.media_helpers import TOKENIZER
from ..generation.object_helpers import object_pipeline

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("objects")
    object_pipeline().save_pretrained(root / "generator")
    (root / "pictures").mkdir()
    Image.new("RGB", (32, 32)).save(root / "pictures/a.png")
    return root


def config(folder, name: str = "config", **changes):
    values = {
        "title": "Objects",
        "chunk_size": 1,
        "sets": {"solids": {"set": "miniature-objects", "count": 2, "size": SIZE, "task": "pictures"}},
        "generators": {"ours": {"adapter": "image-to-object", "model": str(folder / "generator")}},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "run"
    return output, evaluate(config(folder), output)


def test_numbers_are_those_of_the_measures(folder, run):
    _, results = run
    (result,) = results.results
    samples = miniature_objects(count=2, size=SIZE)
    model = ImageToObjectSamples(str(folder / "generator"))
    assert model.resolution == 8
    each = []
    for index in range(2):
        given = pictured(samples, index)
        made = model.make(given, index)
        assert made is not None
        each.append(measured(made.coords, made.gaussians, true_object(given, 8, samples), 8))
    for name, own in {"structure_iou": "iou", "views_psnr": "psnr", "color_error": "color"}.items():
        assert result.numbers[name] == pytest.approx(sum(one[own] for one in each) / 2, rel=1e-5)
    assert result.numbers["empty"] == 0 and result.numbers["count"] == 2
    assert result.protocol["measures"] == ["structure-iou", "views-psnr", "color-error"]
    assert result.protocol["model"]["seed"] == 0 and result.protocol["set"]["protocol"]["small"] is True


def test_objects_are_drawn_and_a_stopped_run_goes_on(folder, run):
    output, _ = run
    page = (output / "index.html").read_text()
    assert "First of ours" in page and "structure IoU" in page and "TRELLIS" in page
    before = (output / "results.json").read_bytes()
    picture = output / "made/ours/solids/00001.png"
    pixels = picture.read_bytes()
    assert Image.open(picture).width > 5 * pictured_objects.SHOWN_SIZE
    (output / "chunks/ours/solids/000001.safetensors").unlink()
    picture.unlink()
    told = []
    evaluate(config(folder), output, progress=lambda *values: told.append(values))
    assert told == [("ours on solids", 0, 1), ("ours on solids", 1, 1)]
    assert (output / "results.json").read_bytes() == before and picture.read_bytes() == pixels


def test_true_tokens_have_the_true_voxels():
    samples = miniature_objects(count=1, size=SIZE)
    model, given = TrueTokens(str(TOKENIZER)), pictured(samples, 0)
    true = true_object(given, model.resolution, samples)
    made = model.make(given, 0)
    found = measured(made.coords, made.gaussians, true, model.resolution)
    assert found["iou"] == 1.0 and found["psnr"] > 15 and found["color"] < 25
    # The mean of one object is that object.
    mean = MeanKnownObject(str(TOKENIZER), {"set": "miniature-objects", "count": 1, "size": SIZE}).make(given, 0)
    assert sorted(mean.coords.tolist()) == sorted(made.coords.tolist())
    # Among objects that it is one of, it is the nearest, by the very same picture.
    known = {"set": "miniature-objects", "count": 2, "size": SIZE}
    nearest = NearestKnownObject(str(TOKENIZER), known, picture_size=64)
    assert nearest.make(given, 0).coords.tolist() == made.coords.tolist()


def test_an_object_without_voxels_counts_as_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageToObjectSamples, "make", lambda self, given, index: None)
    (result,) = evaluate(config(folder, "empty"), tmp_path / "out").results
    assert result.numbers["empty"] == 2 and result.numbers["structure_iou"] == 0
    assert result.numbers["color_error"] == 255 and result.numbers["views_psnr"] > 0


def test_pictures_depend_on_the_sample_and_its_number_alone():
    few, many = (miniature_objects(count=count, size=SIZE) for count in (2, 3))
    one, other = (pictured(samples, 1) for samples in (few, many))
    assert one.picture.mode == "RGBA" and one.picture.tobytes() == other.picture.tobytes()
    assert torch.equal(one.camera.world_to_camera, other.camera.world_to_camera)
    whole = miniature_objects(count=2, size=SIZE, small=False)
    assert whole.view_angle == 40 and few.view_angle == 15
    assert whole.samples[0].captions == few.samples[0].captions and whole.checksum != few.checksum


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sets": {"a": {"set": "image-folder", "folder": "PICTURES", "task": "pictures"}}}, "objects for pictures"),
        ({"sets": {"a": {"set": "miniature-objects", "split": "all", "task": "pictures"}}}, "split"),
        ({"sets": {"a": {"set": "miniature-objects", "small": 1, "task": "pictures"}}}, "small must be"),
        ({"sets": {"a": {"set": "miniature-objects", "count": 0, "task": "pictures"}}}, "count"),
        ({"generators": {"a": {"adapter": "image-to-object", "model": "/nowhere"}}}, "nowhere"),
        ({"generators": {"a": {"adapter": "image-to-object", "model": "GENERATOR", "seed": -1}}}, "seed must be"),
        (
            {"generators": {"a": {"adapter": "image-to-object", "model": "GENERATOR", "latent_sampling": {"w": 3}}}},
            "latent_sampling",
        ),
        ({"generators": {"a": {"adapter": "true-tokens", "model": "/nowhere"}}}, "nowhere"),
        (
            {"generators": {"a": {"adapter": "mean-object", "model": "TOKENIZER", "objects": 3}}},
            "objects must be a map",
        ),
        (
            {"generators": {"a": {"adapter": "mean-object", "model": "TOKENIZER", "objects": {"set": "davis"}}}},
            "objects: options must be",
        ),
        (
            {"generators": {"a": {"adapter": "mean-object", "model": "TOKENIZER", "objects": {"set": "moon"}}}},
            "objects: set must be one of",
        ),
        (
            {
                "generators": {
                    "a": {
                        "adapter": "nearest-object",
                        "model": "TOKENIZER",
                        "objects": {"set": "miniature-captions", "kind": "image"},
                    }
                }
            },
            "objects must be a set of objects, got one of images",
        ),
        (
            {
                "generators": {
                    "a": {
                        "adapter": "nearest-object",
                        "model": "TOKENIZER",
                        "objects": {"set": "miniature-objects"},
                        "picture_size": 30,
                    }
                }
            },
            "picture_size must be a multiple of 16",
        ),
    ],
)
def test_what_is_wrong_is_named_before_any_work(folder, tmp_path, changes, match):
    path = config(folder, "wrong", **changes)
    text = path.read_text()
    named = {"GENERATOR": folder / "generator", "TOKENIZER": TOKENIZER, "PICTURES": folder / "pictures"}
    for name, place in named.items():
        text = text.replace(name, str(place))
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        evaluate(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
