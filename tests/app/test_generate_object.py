"""`atoken generate --image`: Gaussians of pictures as the pipeline makes them, and bad input."""

import pytest
import torch
from PIL import Image

from atoken.gaussian_files_atoken import load_ply

from ..cli_samples import run, run_json
from ..generation.object_helpers import object_pipeline, picture


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of a tiny random generator."""
    folder = tmp_path_factory.mktemp("object-generator")
    object_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def shot(tmp_path):
    """A picture with alpha."""
    path = tmp_path / "shot.png"
    picture().save(path)
    return path


def test_an_object_as_ply_turntable_and_page(model, shot, tmp_path):
    outputs = [tmp_path / name for name in ("out/object.ply", "turn.mp4", "page.html")]
    names = ("--output", "--turntable", "--page")
    options = [word for pair in zip(names, outputs, strict=True) for word in pair]
    answer = run_json("generate", "--image", shot, "--model", model, "--seed", 3, *options)
    expected = object_pipeline()(picture(), generator=torch.Generator().manual_seed(3))
    gaussians = load_ply(outputs[0])
    assert answer["gaussians"] == len(gaussians) == len(expected.gaussians[0])
    assert answer["voxels"] == len(expected.coords) and answer["output"] == str(outputs[0])
    torch.testing.assert_close(gaussians.means, expected.gaussians[0].means, rtol=0, atol=1e-4)
    assert outputs[1].stat().st_size > 1000 and "<html" in outputs[2].read_text()[:200].lower()


def test_settings_reach_both_stages(model, shot, tmp_path):
    given = ["generate", "--image", shot, "--model", model]
    first = run_json(*given, "-o", tmp_path / "a.ply")
    other = run_json(*given, "-o", tmp_path / "b.ply", "--steps", 2, "--guidance", 1, "--shift", 2)
    settings = {"num_inference_steps": 2, "guidance_scale": 1.0, "shift": 2.0}
    expected = object_pipeline()(
        picture(), structure_sampling=settings, latent_sampling=settings, generator=torch.Generator().manual_seed(0)
    )
    assert other["voxels"] == len(expected.coords) != first["voxels"]
    torch.testing.assert_close(load_ply(tmp_path / "b.ply").means, expected.gaussians[0].means, rtol=0, atol=1e-4)


def test_a_mask_takes_the_place_of_alpha(model, shot, tmp_path):
    opaque, mask = tmp_path / "opaque.png", tmp_path / "mask.png"
    picture().convert("RGB").save(opaque)
    picture().getchannel("A").save(mask)
    given = ["generate", "--model", model, "-o"]
    run(*given, tmp_path / "a.ply", "--image", shot)
    run(*given, tmp_path / "b.ply", "--image", opaque, "--mask", mask)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    result = run(*given, tmp_path / "c.ply", "--image", opaque, code=1)
    assert "must have an alpha channel that is 0 behind the object" in result.stderr
    assert not (tmp_path / "c.ply").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--output", "objects"], 2, "--output: objects must end in .ply with --image"),
        (["--turntable", "turn.gif"], 2, "--turntable: turn.gif must end in .mp4 or"),
        (["--page", "page.txt"], 2, "--page: page.txt must end in .html"),
        (["--class", "red star"], 2, "--class: it does not go with --image"),
        (["--temperature", 0.5], 2, "--temperature: it does not go with --image"),
        (["--npz"], 2, "--npz: it does not go with --image"),
        (["--mask", "a.png", "--mask", "b.png"], 2, "--mask: give one for each --image, 1; got 2"),
        (["--mask", "nowhere.png"], 1, "--mask: "),
        (["--model", "nowhere"], 1, "--model: "),
        (["--guidance-start", 0.5], 2, "--guidance-start: it does not go with --image"),
        (["--shift", 0], 1, "shift must be above 0"),
    ],
)
def test_bad_input(model, shot, tmp_path, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    given = {"--output": "object.ply", "--model": model}
    words = [word for name, value in given.items() if name not in options for word in (name, value)]
    assert message in run("generate", "--image", shot, *words, *options, code=code).stderr
    assert not (tmp_path / "object.ply").exists()


def test_what_needs_a_picture(tmp_path):
    result = run("generate", "-o", tmp_path / "a.ply", "--turntable", tmp_path / "a.mp4", code=2)
    assert "--turntable: it goes with --image" in result.stderr


def test_files_that_are_there_or_damaged(model, shot, tmp_path):
    target = tmp_path / "object.ply"
    target.write_text("mine")
    assert "exists; use --overwrite" in run("generate", "--image", shot, "-o", target, code=1).stderr
    assert target.read_text() == "mine"
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(shot.read_bytes()[:80])
    assert (
        "--image: " in run("generate", "--image", damaged, "--model", model, "-o", target, "--overwrite", code=1).stderr
    )
    assert target.read_text() == "mine"
    Image.new("RGBA", (20, 20)).save(damaged)
    result = run("generate", "--image", damaged, "--model", model, "-o", target, "--overwrite", code=1)
    assert "must show an object" in result.stderr
