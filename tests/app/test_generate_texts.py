"""`atoken generate --text`: images and clips that depend on seed and number alone, and what is refused."""

import numpy as np
import pytest

from atoken.evaluation.seeded_images import image_generator
from atoken.processing.media_reading_atoken import open_image
from atoken.tokenizing.clips import read_frames

from ..cli_samples import names, run, run_json
from ..generation.helpers import lightning_pipeline
from ..generation.media_helpers import media_pipeline

TEXT = "a red star moving left"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a tiny random generator."""
    folder = tmp_path_factory.mktemp("generator")
    media_pipeline().save_pretrained(folder)
    return folder


def test_one_image(model, tmp_path):
    answer = run_json("generate", "--text", TEXT, "-o", tmp_path / "out.png", "--model", model, "--seed", 5)
    assert answer["files"] == [str(tmp_path / "out.png")] and answer["frames"] == 1 and len(answer["fingerprint"]) == 32
    expected = np.asarray(media_pipeline()(TEXT, generator=[image_generator(5, 0)]).images[0])
    found = open_image(tmp_path / "out.png").permute(1, 2, 0).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_one_clip(model, tmp_path):
    options = ["--frames", 8, "--steps", 2, "--guidance", 2, "--height", 48, "--fps", 5]
    run("generate", "--text", TEXT, "-o", tmp_path / "new/out.mp4", "--model", model, *options)
    assert read_frames(tmp_path / "new/out.mp4", lambda total, fps: range(total)).shape == (8, 3, 48, 48)


def test_a_folder_of_several(model, tmp_path):
    options = ["--text", TEXT, "--text", "Something blue!", "-n", 3, "--model", model]
    run("generate", *options, "-o", tmp_path / "out")
    files = ["000000-a-red-star-moving-left.png", "000001-something-blue.png", "000002-a-red-star-moving-left.png"]
    assert names(tmp_path / "out") == files
    run("generate", *options, "-o", tmp_path / "alone", "--batch-size", 1)
    for file in files:
        first, second = (open_image(tmp_path / folder / file).numpy().astype(int) for folder in ("out", "alone"))
        assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize(
    ("output", "options", "code", "message"),
    [
        ("out.png", ["--frames", 8], 2, "--frames: out.png is a picture's name"),
        ("out.txt", [], 2, "--output must end in .png or .mp4, or be a folder"),
        ("out.mp4", ["-n", 2], 2, "--output must be a folder for 2 items"),
        ("out.png", ["--class", "star"], 2, "--class: it does not go with --text"),
        ("out.png", ["--temperature", 1], 2, "--temperature: it does not go with --text"),
        ("out.png", ["--npz"], 2, "--npz: it does not go with --text"),
        ("out.mp4", ["--frames", 6], 1, "--text: num_frames must be 1 for images, or a multiple of 4"),
        ("out.png", ["--width", 50], 1, "--text: width must be a multiple of 16 pixels"),
        ("out", ["--text", "star " * 30], 1, "--text: prompt must have at most 16 tokens"),
        ("out.png", ["--model", "nowhere"], 1, "--model: "),
    ],
)
def test_what_is_refused(output, options, code, message, model, tmp_path):
    result = run("generate", "--text", TEXT, "-o", tmp_path / output, "--model", model, *options, code=code)
    assert message in result.stderr and not (tmp_path / output).exists()


def test_what_is_there_is_kept(model, tmp_path):
    (tmp_path / "out.png").write_text("mine")
    result = run("generate", "--text", TEXT, "-o", tmp_path / "out.png", "--model", model, code=1)
    assert "is there already; use --overwrite" in result.stderr and (tmp_path / "out.png").read_text() == "mine"
    run("generate", "--text", TEXT, "-o", tmp_path / "out.png", "--model", model, "--overwrite")
    assert open_image(tmp_path / "out.png").shape == (3, 32, 48)


def test_generators_of_classes_and_of_texts_are_told_apart(model, tmp_path):
    lightning_pipeline().save_pretrained(tmp_path / "classes")
    result = run("generate", "--text", TEXT, "-o", tmp_path / "out.png", "--model", tmp_path / "classes", code=1)
    assert "model must be a pipeline of TextToMediaPipeline, got 'LightningDiTPipeline'" in result.stderr
    result = run("generate", "--class", "0", "-o", tmp_path / "out", "--model", model, code=1)
    assert "model must be a pipeline of LightningDiTPipeline or TokenBridgePipeline" in result.stderr
    result = run("generate", "-o", tmp_path / "out", "--frames", 8, code=2)
    assert "--frames: it goes with --text alone" in result.stderr
