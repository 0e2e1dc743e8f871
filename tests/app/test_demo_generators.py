"""The demo's grids of generated images, of tiny random generators under the names of the embedded ones."""

import json
import shutil

import numpy as np
import pytest
import torch

from atoken.evaluation.seeded_images import image_generator
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES
from atoken.processing.media_reading_atoken import open_image
from atoken.tokenizing.clips import read_frames
from atoken_app import demo_command

from ..cli_samples import names, run, save_model, save_photo
from ..generation.helpers import lightning_pipeline, token_pipeline
from ..generation.media_helpers import SAMPLING, media_pipeline

PAIRS = [f"{color} {shape}" for color in COLOURS for shape in FLAT_SHAPES]
CLASSES = {"num_classes": len(PAIRS), "id2label": dict(enumerate(PAIRS))}
GENERATORS = {"lightning-dit-tiny": lightning_pipeline, "token-bridge-tiny": token_pipeline}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with tokenizers, media and generators."""
    checkpoints = tmp_path / "checkpoints"
    save_model(checkpoints / "atoken-tiny")
    save_model(checkpoints / "atoken-tiny-d", discrete=True)
    for name, make in GENERATORS.items():
        make(**CLASSES).save_pretrained(checkpoints / name)
        (checkpoints / name / "training.json").write_text(json.dumps({"sampling": {"num_inference_steps": 2}}))
    save_photo(tmp_path / "media/a.png")
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", checkpoints)
    monkeypatch.setattr(demo_command, "EXAMPLE_MEDIA", tmp_path / "media")
    return tmp_path


def cells(path, side: int) -> list[np.ndarray]:
    """The 16 pictures of a grid of four columns, with gaps of two pixels."""
    grid = open_image(path).permute(1, 2, 0).numpy()
    assert grid.shape == (4 * side + 10, 4 * side + 10, 3)
    starts = [2 + index * (side + 2) for index in range(4)]
    return [grid[row : row + side, column : column + side] for row in starts for column in starts]


def test_grids_of_both_generators(tree):
    run("demo", "-o", tree / "demo")
    page = (tree / "demo/index.html").read_text(encoding="utf-8")
    for name, make in GENERATORS.items():
        assert f"Images of classes by {name}" in page and "through the tokenizer: the ceiling" in page
        pipeline = make(**CLASSES)
        side = 16 * pipeline.transformer.config.sample_size
        scenes, ceiling, generated = (cells(tree / "demo" / f"{name}.{index}.png", side) for index in range(3))
        pixels = torch.from_numpy(scenes[5]).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            back = pipeline.vae.decode(pipeline.vae.encode(pixels).latent_dist.mode()).sample[0].permute(1, 2, 0)
        expected = ((back + 1) / 2 * 255).clamp(0, 255).round().numpy()
        assert np.abs(expected - ceiling[5]).max() <= 1
        # Every fifth of 64 classes, and the random numbers of the seed 0.
        (alone,) = pipeline(PAIRS[25], num_inference_steps=2, generator=image_generator(0, 5)).images
        assert np.abs(np.asarray(alone, dtype=int) - generated[5]).max() <= 1
    # The first scene has something red in it, and the eighth something blue.
    assert (PAIRS[0], PAIRS[35]) == ("red circle", "blue ring")
    assert (scenes[0].astype(int) @ [2, -1, -1]).max() > 150 and (scenes[7].astype(int) @ [-1, -1, 2]).max() > 150


def test_images_and_clips_of_texts(tree):
    sampling = {**SAMPLING, "height": 32, "width": 32, "num_inference_steps": 2}
    pipeline = media_pipeline(image_sampling=sampling, video_sampling=sampling)
    pipeline.save_pretrained(tree / "checkpoints/text-to-media-tiny")
    for name in GENERATORS:
        shutil.rmtree(tree / "checkpoints" / name)
    run("demo", "-o", tree / "demo")
    page = (tree / "demo/index.html").read_text(encoding="utf-8")
    assert "Images of texts by text-to-media-tiny" in page and "Clips of texts by text-to-media-tiny" in page
    grid = open_image(tree / "demo/text-to-media-tiny.image.2.png")
    assert grid.shape == (3, 2 * 32 + 6, 4 * 32 + 10)
    clip = read_frames(tree / "demo/text-to-media-tiny.video.2.mp4", lambda total, fps: range(total))
    assert clip.shape == (16, 3, 2 * 32 + 6, 4 * 32 + 10)


def test_what_shows_none(tree):
    run("demo", "-o", tree / "own", "--model", "atoken-tiny")
    run("demo", "-o", tree / "media-of-mine", "--media", tree / "media/a.png", "--model", "atoken-tiny")
    assert not [name for folder in ("own", "media-of-mine") for name in names(tree / folder) if "dit" in name]


def test_a_generator_with_other_classes(tree):
    lightning_pipeline().save_pretrained(tree / "checkpoints/lightning-dit-tiny")
    result = run("demo", "-o", tree / "demo", code=1)
    assert "classes must be a color and a shape" in result.stderr and not (tree / "demo").exists()
