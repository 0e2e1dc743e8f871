"""Table 13 and Figure 14 with generators of random weights, whose checkpoints a clone may lack."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atoken.evaluation.models.media_generator_loading import LoadedMediaGenerator
from atoken.evaluation.paper import generated_media, generated_objects
from atoken.evaluation.paper.parts import MissingInput
from atoken.evaluation.paper.workspace import Workspace
from atoken.miniature.solids import draw_object

from ...generation.media_helpers import SAMPLING, media_pipeline
from ...generation.object_helpers import object_pipeline
from .helpers import FEW, workspace

CHECKPOINTS = Path(__file__).resolve().parents[3] / "checkpoints"
SQUARE = {**SAMPLING, "height": 64, "width": 64, "num_inference_steps": 1}


@pytest.fixture
def space(tmp_path) -> Workspace:
    """A workspace of a clone with atoken-tiny alone."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/atoken-tiny").symlink_to(CHECKPOINTS / "atoken-tiny")
    return workspace(tmp_path, root=tmp_path)


def pretend(space: Workspace, name: str) -> None:
    """Puts a folder in the place of a checkpoint."""
    (space.root / "checkpoints" / name).mkdir()
    (space.root / "checkpoints" / name / "model_index.json").write_text("{}")


@pytest.mark.parametrize("part", [generated_media, generated_objects])
def test_a_checkpoint_that_is_not_there_is_named(space, part):
    with pytest.raises(MissingInput, match=part.NAME):
        part.make(space)


def test_images_and_clips_of_captions(space, monkeypatch):
    pretend(space, generated_media.NAME)
    pipeline = media_pipeline(image_sampling=SQUARE, video_sampling=SQUARE)
    loaded = LoadedMediaGenerator(pipeline, "random", "0" * 32)
    monkeypatch.setattr(generated_media, "load_media_generator", lambda name, device: loaded)
    made = generated_media.make(space)
    rows = made.tables[0].table.rows
    assert [row[0] for row in rows][:2] == ["images of text-to-media-tiny", "true images"]
    assert [row[-1] for row in rows] == ["4", "4", "", "1", "1", ""]  # half of the images, and an eighth of these
    assert float(rows[1][1]) >= 75 and rows[0][4] == "" and rows[5][4] == "12.5"
    assert [shown.data[:4] for shown in made.shown] == [b"\x89PNG"] * 2 and "random" in made.protocol[0]


def test_what_networks_told_is_read_from_the_training_record():
    shares = {"color": 0.5, "shape": 0.25, "pair": 0.125}
    each = {"samples": {**shares, "count": 48}, "ceiling": shares, "chance": shares}
    clips = {part: {**values, "motion": 1.0} for part, values in each.items()}
    rows = generated_media.judged({"image": each, "video": clips}).rows
    assert rows[0] == ["images, samples", "50.0", "25.0", "12.5", "", "48"]
    assert rows[4] == ["videos, true scenes through the tokenizer", "50.0", "25.0", "12.5", "100.0", ""]


def test_what_is_made_does_not_depend_on_its_batch(monkeypatch):
    pipeline = media_pipeline(image_sampling=SQUARE, video_sampling=SQUARE)
    captions = ["a red star", "a blue ring", "a green heart"]
    together = generated_media.sampled(pipeline, captions, "image")
    monkeypatch.setattr(generated_media, "BATCH", 2)
    apart = generated_media.sampled(pipeline, captions, "image")
    assert all((one.int() - other.int()).abs().max() <= 1 for one, other in zip(together, apart, strict=True))
    (clip,) = generated_media.sampled(pipeline, captions[:1], "video")
    assert clip.shape == (generated_media.FRAMES, 3, 64, 64) and clip.dtype == torch.uint8


def test_objects_of_pictures(space, monkeypatch):
    pretend(space, generated_objects.NAME)
    monkeypatch.setattr(generated_objects, "load_object_generator", lambda name, device: (object_pipeline(), "random"))
    made = generated_objects.make(space)
    assert [shown.caption.split(",")[0] for shown in made.shown[:2]] == ["the picture", "true views"]
    assert len(made.shown) == 3 * FEW.shown and all(shown.data.startswith(b"\x89PNG") for shown in made.shown)
    assert made.shown[2].caption.endswith(" dB") or made.shown[2].caption.startswith("nothing was made")


def test_objects_are_as_the_embedded_generator_has_learned_them():
    for index in range(2):
        scene, mesh = generated_objects.held_out_object(index)
        learned = draw_object(scene, turned=False).vertices
        assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(3 / 8)
        np.testing.assert_allclose(mesh.vertices, learned * 3 / 8 / np.ptp(learned, axis=0).max(), atol=1e-9)


def test_a_picture_shows_nothing_behind_the_object():
    scene, mesh = generated_objects.held_out_object(0)
    camera = generated_objects.hammersley_cameras(1, fov_degrees=generated_objects.ANGLE, offset=(0.4, 0.1))
    picture = torch.from_numpy(np.array(generated_objects.picture_of(mesh, camera)))
    opaque = picture[..., 3] == 255
    assert scene.kind == "object" and 0.05 < opaque.float().mean() < 0.9
    assert set(picture[..., 3].unique().tolist()) == {0, 255} and not picture[~opaque].any()
