"""Table 13 and Figure 14 with generators of random weights, whose checkpoints a clone may lack."""

from pathlib import Path

import pytest

from atoken.evaluation.paper import generated_media, generated_objects
from atoken.evaluation.paper.generated_media import CEILING
from atoken.evaluation.paper.parts import MissingInput
from atoken.evaluation.paper.workspace import Workspace
from atoken.miniature.scenes import COLOURS

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


@pytest.mark.parametrize("part", [generated_media, generated_objects])
def test_a_checkpoint_that_is_not_there_is_named(space, part):
    with pytest.raises(MissingInput, match=part.NAME):
        part.make(space)


def test_images_and_clips_of_captions(space):
    pipeline = media_pipeline(image_sampling=SQUARE, video_sampling=SQUARE)
    pipeline.save_pretrained(space.root / "checkpoints" / generated_media.NAME)
    made = generated_media.make(space)
    told, zero_shot = (titled.table.rows for titled in made.tables)
    names = [f"{kind}s, {of}" for kind in ("image", "video") for of in (generated_media.NAME, CEILING, "chance")]
    assert [row[0] for row in told] == [row[0] for row in zero_shot] == names
    assert [row[-1] for row in told] == ["4", "4", "", "1", "1", ""]  # half of the images, and an eighth of these
    assert float(told[1][1]) >= 75 and told[0][4] == "" and told[5][4] == "12.5"
    assert [shown.data[:4] for shown in made.shown] == [b"\x89PNG"] * 2 and generated_media.NAME in made.protocol[0]
    assert len(made.missing) == 2 and "openai/clip-vit-large-patch14" in made.missing[0]
    assert generated_media.make(space).tables[0].table.rows == told  # what was measured is read again


def test_what_networks_told_is_read_from_the_training_record():
    shares = {"color": 0.5, "shape": 0.25, "pair": 0.125}
    each = {"samples": {**shares, "count": 48}, "ceiling": shares, "chance": shares}
    clips = {part: {**values, "motion": 1.0} for part, values in each.items()}
    rows = generated_media.judged({"image": each, "video": clips}).rows
    assert rows[0] == ["images, samples", "50.0", "25.0", "12.5", "", "48"]
    assert rows[4] == ["videos, true scenes through the tokenizer", "50.0", "25.0", "12.5", "100.0", ""]


def test_objects_of_pictures(space):
    object_pipeline().save_pretrained(space.root / "checkpoints" / generated_objects.NAME)
    made = generated_objects.make(space)
    (table,) = (titled.table for titled in made.tables)
    assert [row[0] for row in table.rows] == [generated_objects.NAME, generated_objects.CEILING]
    assert table.rows[1][1] == "1.000" and [row[-1] for row in table.rows] == ["2", "2"]  # a quarter of the solids
    assert [shown.data[:4] for shown in made.shown] == [b"\x89PNG"] * FEW.shown
    assert is_named(made.shown[0].caption)


def is_named(caption: str) -> bool:
    return any(color in caption for color in COLOURS)


def test_what_has_to_be_beaten_is_read_from_the_training_record():
    found = {"iou": 0.35841, "psnr": 16.626, "color": 13.29}
    rows = generated_objects.recorded({"measured": {"generated": found, "mean object": found}}).rows
    assert rows == [[name, "0.358", "16.63", "13.3"] for name in ("generated", "mean object")]
