"""The demo's objects made of pictures, of a tiny random generator under the name of the embedded one."""

import numpy as np
import pytest
import torch

from atoken.evaluation.seeded_images import image_generator
from atoken.miniature.small_solids import small_solid
from atoken.processing.cameras_atoken import turntable_cameras
from atoken.processing.media_reading_atoken import open_image, read_video
from atoken.tokenizing.objects import gaussian_pictures
from atoken_app import demo_command, demo_objects
from atoken_app.demo_objects import SIDE, show_objects

from ..cli_samples import names, run, save_model, save_photo
from ..generation.object_helpers import object_pipeline

NAME = "image-to-object-tiny"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with tokenizers, media and the generator of objects."""
    checkpoints = tmp_path / "checkpoints"
    save_model(checkpoints / "atoken-tiny")
    save_model(checkpoints / "atoken-tiny-d", discrete=True)
    object_pipeline().save_pretrained(checkpoints / NAME)
    save_photo(tmp_path / "media/a.png")
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", checkpoints)
    monkeypatch.setattr(demo_command, "EXAMPLE_MEDIA", tmp_path / "media")
    monkeypatch.setattr(demo_objects, "OBJECTS", 2)
    monkeypatch.setattr(demo_objects, "FRAMES", 4)
    return tmp_path


def test_objects_turn_beside_the_true_ones(tree):
    run("demo", "-o", tree / "demo")
    page = (tree / "demo/index.html").read_text(encoding="utf-8")
    assert f"3D objects of pictures by {NAME}" in page and "true objects" in page
    shown = open_image(tree / f"demo/{NAME}.0.png")
    assert shown.shape == (3, SIDE + 4, 2 * SIDE + 6)
    true, _ = read_video(tree / f"demo/{NAME}.1.mp4")
    assert len(true) == 4 and true.shape[1:3] == shown.shape[1:]
    # A turntable begins where the picture was taken.
    first = open_image(tree / f"demo/{NAME}.1.png")
    assert (first.float() - shown.float()).abs().mean() < 6


def test_an_object_is_that_of_its_picture_and_seed(tree):
    row = show_objects(NAME, tree, "cpu")
    assert [picture.title for picture in row.pictures] == ["the pictures", "true objects", "generated"]
    grid = open_image(tree / row.pictures[2].poster).permute(1, 2, 0).numpy()
    rng = np.random.default_rng(7)
    scenes = [demo_objects.random_scene("object", "held_out", rng) for _ in range(2)]
    picture = demo_objects._picture(small_solid(scenes[1]))
    made = object_pipeline()(picture, generator=image_generator(0, 1)).gaussians[0]
    with torch.no_grad():
        (alone,) = gaussian_pictures(made, turntable_cameras(1, fov_degrees=demo_objects._ANGLE), SIDE)
    beside = grid[2 : 2 + SIDE, SIDE + 4 : 2 * SIDE + 4]
    assert np.abs(alone.astype(int) - beside.astype(int)).max() <= 1


def test_other_demos_and_trees_without_the_generator_show_none(tree):
    run("demo", "-o", tree / "own", "--model", "atoken-tiny")
    assert not [name for name in names(tree / "own") if NAME in name]
