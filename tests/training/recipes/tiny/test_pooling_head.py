"""A pooling head that goes on alone: copies without color, samples described once, and what changes of a checkpoint."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from atoken import AtokenModel
from atoken.miniature.scenes import FLAT_SHAPES, is_pair_held_out
from atoken.miniature.world import MiniatureWorld
from atoken.processing import AtokenProcessor
from atoken.training.recipes.tiny import pooling_head
from atoken.training.recipes.tiny.curriculum import EVALUATION, localized
from atoken.training.recipes.tiny.described_samples import COLORLESS, colorless, describe
from atoken.training.recipes.tiny.evaluation_parts import drop_reconstruction
from atoken.training.tokenizer.validation import write_configuration

ROOT = Path(__file__).resolve().parents[4]
CHECKPOINT = ROOT / "checkpoints/atoken-tiny"


@pytest.fixture(scope="module")
def parts():
    return AtokenModel.from_pretrained(CHECKPOINT, dtype=torch.float32), AtokenProcessor.from_pretrained(CHECKPOINT)


def test_copies_have_the_luminance_and_no_color():
    picture = np.array([[[255, 0, 0, 255, 7]], [[0, 255, 0, 255, 7]], [[0, 0, 255, 255, 7]]], dtype=np.uint8)
    copy = colorless(picture, "gray")
    assert copy.dtype == np.uint8 and copy.shape == picture.shape
    assert copy[0].tolist() == copy[1].tolist() == copy[2].tolist() == [[76, 150, 29, 255, 7]]  # BT.601
    assert np.array_equal(colorless(picture, "negative"), 255 - copy)
    assert colorless(picture, "lime")[:, 0, 3].tolist() == [158, 255, 38]
    for way in COLORLESS:
        assert np.array_equal(colorless(np.stack([picture, picture]), way)[1], colorless(picture, way))


@pytest.mark.parametrize("kind", ["image", "video"])
def test_tokens_that_are_described_once_give_the_embeddings_of_the_model(parts, kind):
    samples, _ = pooling_head.draw_scenes(kind, 5)
    described = describe(*parts, samples, 2)
    rows = torch.tensor([4, 1])
    with torch.no_grad():
        found = parts[0].vision_model.head(*described.packed(rows))
    torch.testing.assert_close(found, described.embeddings[rows], rtol=1e-5, atol=1e-5)


def test_scenes_have_no_pair_that_is_held_out():
    _, shapes = pooling_head.draw_scenes("image", 200)
    world = MiniatureWorld("image", "train", 200, pooling_head.SEED)
    scenes = [world.describe(index)[0] for index in range(200)]
    assert [FLAT_SHAPES[number] for number in shapes] == [scene.shape for scene in scenes]
    assert not any(is_pair_held_out(scene.colour, scene.shape) for scene in scenes)


def test_only_understanding_is_measured(tmp_path):
    template = localized(EVALUATION, Path("/somewhere"), tmp_path / "evaluation.yaml")
    assert len(drop_reconstruction(template)) == 7
    config = write_configuration(template, Path("/a/model"), tmp_path / "filled.yaml")
    assert len(config.sets) == 11 and "reconstruction" not in {entry.task for entry in config.sets}


def test_shapes_of_copies_are_learned(parts):
    model, processor = parts
    pictures, shapes = pooling_head.draw_scenes("image", 256)
    scenes = [
        describe(model, processor, each, 64) for each in (pictures, [colorless(each, "gray") for each in pictures])
    ]
    classes = F.normalize(torch.stack([scenes[0].embeddings[shapes == i].mean(0) for i in range(8)]), dim=-1)
    head, every = copy.deepcopy(model.vision_model.head), torch.arange(256)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.1 * torch.randn_like(parameter)

    def share_right() -> float:
        with torch.no_grad():
            cosines = F.normalize(head(*scenes[1].packed(every)), dim=-1) @ classes.T
        return float((cosines.argmax(1) == shapes).double().mean())

    def distance() -> float:
        with torch.no_grad():
            return float(pooling_head.distance(head(*scenes[0].packed(every)), scenes[0], every))

    share, far = share_right(), distance()
    steps = pooling_head.train_head(head, tuple(scenes), shapes, {}, classes, 20.0, epochs=20)
    assert steps == 40 and share_right() > share + 0.2 and distance() < 0.5 * far


def test_embeddings_get_their_length_back_and_keep_their_directions(parts):
    model, processor = parts
    described = describe(model, processor, pooling_head.draw_scenes("image", 32)[0], 32)
    longer = dataclasses.replace(described, embeddings=3.5 * described.embeddings)
    head = copy.deepcopy(model.vision_model.head)
    pooling_head.restore_length(head, longer)
    with torch.no_grad():
        found = head(*described.packed(torch.arange(32)))
    torch.testing.assert_close(found, 4 * described.embeddings, rtol=1e-5, atol=1e-4)  # the nearest power of two


def test_nothing_but_the_head_changes(tmp_path, monkeypatch):
    folders = [str(tmp_path / "data"), str(tmp_path / "out"), str(CHECKPOINT)]
    monkeypatch.setattr("sys.argv", ["pooling_head", *folders, "--scenes", "128"])
    photos = tmp_path / "data/photos/train/package"
    photos.mkdir(parents=True)
    shutil.copy(ROOT / "examples/media/cat.jpg", photos)
    options = {"scenes": 128, "clips": 8, "solids": 1, "epochs": 3, "evaluate": False}
    pooling_head.main(tmp_path / "data", tmp_path / "out", CHECKPOINT, **options)
    released = tmp_path / "out/released"
    record = json.loads((released / "training.json").read_text())["pooling_head"]
    expected = "python -m atoken.training.recipes.tiny.pooling_head DATA OUT checkpoints/atoken-tiny --scenes 128"
    assert record["command"] == expected
    assert record["steps"] == 3 and record["data"]["photos"] == 1
    before, after = (load_file(folder / "model.safetensors") for folder in (CHECKPOINT, released))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("vision_model.head.") for name in changed)
    assert (released / "protected_rows.safetensors").is_file()


def test_photos_are_needed(tmp_path):
    with pytest.raises(FileNotFoundError, match="DATA must hold photos, got none below"):
        pooling_head.read_photos(tmp_path)
