"""`atoken generate`: images that depend on seed and number alone, in parts and by several workers, and bad input."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing.media_reading_atoken import open_image

from ..cli_samples import names, run, run_json
from ..generation.helpers import lightning_pipeline, token_pipeline

MAKERS = {"latents": lightning_pipeline, "codes": token_pipeline}
FILES = ["000000-red-star.png", "000001-blue-disk.png", "000002-red-star.png", "000003-blue-disk.png"]
TWO_CLASSES = ["--class", "red star", "--class", "1", "-n", 4, "--steps", 3]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny random generators."""
    root = tmp_path_factory.mktemp("generators")
    for kind, make in MAKERS.items():
        make().save_pretrained(root / kind)
    return root


def pictures(folder) -> np.ndarray:
    return np.stack([open_image(path).permute(1, 2, 0).numpy() for path in sorted((folder / "images").iterdir())])


@pytest.mark.parametrize("kind", MAKERS)
def test_images_a_grid_and_a_record(models, tmp_path, kind):
    answer = run_json("generate", "-o", tmp_path / "out", "--model", models / kind, *TWO_CLASSES, "--seed", 5)
    assert names(tmp_path / "out") == ["generated.json", "grid.png", "images", *(f"images/{name}" for name in FILES)]
    record = json.loads((tmp_path / "out/generated.json").read_text())
    assert answer.items() >= record.items() and answer["missing"] == 0 and answer["made"] == 4
    assert record["model"] == str(models / kind) and record["seed"] == 5 and len(record["fingerprint"]) == 32
    assert record["classes"] == [{"number": 0, "name": "red star"}, {"number": 1, "name": "blue disk, disk"}]
    assert record["settings"]["num_inference_steps"] == 3
    assert record["settings"]["guidance_scale"] == {"latents": 1.65, "codes": 3.1}[kind]
    # The same by the pipeline itself, one image alone, with the random numbers that the page describes.
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([5, 3]).generate_state(1)[0]))
    alone = MAKERS[kind]()("blue disk", num_inference_steps=3, generator=generator).images[0]
    made = pictures(tmp_path / "out")
    assert np.abs(made[3].astype(int) - np.asarray(alone)).max() <= 1
    # The grid has a column for each class, with gaps of two pixels.
    side = made.shape[1]
    with Image.open(tmp_path / "out/grid.png") as grid:
        assert grid.size == (2 * side + 6, 2 * side + 6)
        assert np.array_equal(np.asarray(grid)[side + 4 : -2, 2 : side + 2], made[2])


def test_images_do_not_depend_on_batches_shards_and_stops(models, tmp_path):
    options = ["--model", models / "codes", *TWO_CLASSES]
    run("generate", "-o", tmp_path / "whole", *options)
    parts = ["generate", "-o", tmp_path / "parts", *options]
    first = run_json(*parts, "--shard", "1/2", "--batch-size", 1)
    assert first["missing"] == 2 and first["made"] == 2 and first["grid"] is None
    assert run_json(*parts, "--shard", "0/2")["missing"] == 0
    (tmp_path / "parts/images" / FILES[1]).unlink()
    again = run_json(*parts)
    assert again["made"] == 1 and names(tmp_path / "parts") == names(tmp_path / "whole")
    assert np.array_equal(pictures(tmp_path / "parts"), pictures(tmp_path / "whole"))
    assert run_json(*parts)["made"] == 0


@pytest.mark.parametrize("kind", MAKERS)
def test_in_bfloat16(models, tmp_path, kind):
    options = ["--model", models / kind, "-n", 1, "--steps", 2, "--dtype", "bfloat16"]
    answer = run_json("generate", "-o", tmp_path / "out", *options)
    assert answer["dtype"] == "bfloat16" and len(pictures(tmp_path / "out")) == 1


def test_two_processes_make_the_same(models, tmp_path):
    options = ["--model", models / "latents", *TWO_CLASSES, "--batch-size", 1]
    run("generate", "-o", tmp_path / "one", *options)
    assert run_json("generate", "-o", tmp_path / "two", *options, "--processes", 2)["missing"] == 0
    difference = pictures(tmp_path / "one").astype(int) - pictures(tmp_path / "two")
    assert np.abs(difference).max() <= 1


def test_the_file_of_adms_evaluator(models, tmp_path):
    answer = run_json("generate", "-o", tmp_path, "--model", models / "codes", "-n", 5, "--steps", 2, "--npz")
    path = tmp_path / "samples_5x48x48x3.npz"
    assert answer["npz"] == str(path)
    with np.load(path) as file:
        assert sorted(file.files) == ["arr_0", "arr_1"]
        assert np.array_equal(file["arr_0"], pictures(tmp_path)) and file["arr_0"].dtype == np.uint8
        assert file["arr_1"].tolist() == [0, 1, 2, 0, 1]


def test_settings_that_the_record_of_training_advises(models, tmp_path):
    shutil.copytree(models / "latents", tmp_path / "model")
    advice = {"sampling": {"num_inference_steps": 2, "guidance_scale": 4.0}}
    (tmp_path / "model/training.json").write_text(json.dumps(advice))
    answer = run_json("generate", "-o", tmp_path / "out", "--model", tmp_path / "model", "-n", 1, "--guidance", 3)
    assert answer["settings"] | {"num_inference_steps": 2, "guidance_scale": 3.0} == answer["settings"]


def test_what_is_there_is_kept(models, tmp_path):
    options = ["--model", models / "codes", "-n", 1, "--steps", 2]
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note.txt").write_text("mine")
    result = run("generate", "-o", tmp_path / "full", *options, "--overwrite", code=1)
    assert "full holds other files than generated images" in result.stderr and names(tmp_path / "full") == ["note.txt"]
    result = run("generate", "-o", tmp_path / "full/note.txt", *options, code=2)
    assert "--output" in result.stderr and "is a file" in result.stderr
    run("generate", "-o", tmp_path / "out", *options)
    before = pictures(tmp_path / "out")
    result = run("generate", "-o", tmp_path / "out", *options, "--seed", 1, code=1)
    assert "holds images of another seed; use --overwrite" in result.stderr
    assert np.array_equal(pictures(tmp_path / "out"), before)
    result = run("generate", "-o", tmp_path / "out", *options, "--overwrite", "--shard", "0/2", code=2)
    assert "--overwrite would remove what other shards have made" in result.stderr
    run("generate", "-o", tmp_path / "out", *options, "--seed", 1, "--overwrite")
    assert not np.array_equal(pictures(tmp_path / "out"), before)


@pytest.mark.parametrize(
    ("kind", "options", "code", "says"),
    [
        ("latents", ["--class", "red stat"], 1, "--class: class_labels must be among the 4 names"),
        ("latents", ["--class", "3"], 1, "--class: class_labels must be from 0 to 2"),
        ("latents", ["--temperature", 1], 2, "--temperature: it does not go with the LightningDiTPipeline"),
        ("latents", ["--guidance-channels", 5], 1, "--guidance-channels: guidance_channels must be from 1 to 4"),
        ("latents", ["--shift", 0], 1, "--shift: shift must be above 0"),
        ("latents", ["--guidance", "inf"], 1, "--guidance: guidance_scale must be at least 0"),
        ("codes", ["--steps", 10], 1, "--steps: num_inference_steps must be an integer from 1 to 9 positions"),
        ("codes", ["--shift", 1], 2, "--shift: it does not go with the TokenBridgePipeline"),
        ("codes", ["--steps", 0], 2, "--steps"),
        ("codes", ["--guidance", -1], 2, "--guidance"),
        ("codes", ["--guidance-schedule", "cosine"], 2, "--guidance-schedule"),
        ("codes", ["-n", 0], 2, "--count"),
        ("codes", ["--seed", -1], 2, "--seed"),
        ("codes", ["--shard", "2/2"], 2, "--shard must be I/N"),
        ("codes", ["--device", "cuda"], 2, "--device"),
    ],
)
def test_options_that_cannot_be(models, tmp_path, monkeypatch, kind, options, code, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run("generate", "-o", tmp_path / "out", "--model", models / kind, *options, code=code)
    assert says in result.stderr and not (tmp_path / "out").exists()


def change_index(folder, **entries) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def without_weights_of(folder, name: str) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if key != name}, path)


BAD_MODELS = {
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "must be a folder with a model_index.json"),
    "index of no JSON": (lambda folder: (folder / "model_index.json").write_text("{"), "cannot be read"),
    "another pipeline": (lambda folder: change_index(folder, _class_name="DiTPipeline"), "got 'DiTPipeline'"),
    "no class of a part": (lambda folder: change_index(folder, vae=[None, None]), "must have a vae of a class of"),
    "no folder of a part": (lambda folder: shutil.rmtree(folder / "vae"), "must have a folder vae"),
    "cut weights": (
        lambda folder: (folder / "transformer/diffusion_pytorch_model.safetensors").write_bytes(b"1234"),
        "transformer cannot be loaded",
    ),
    "a weight less": (lambda folder: without_weights_of(folder, "pos_embed"), "missing keys: pos_embed"),
    "statistics": (
        lambda folder: lightning_pipeline(latents_mean=None, latents_std=None).save_pretrained(folder),
        "transformer must have latents_mean and latents_std",
    ),
    "record of no JSON": (lambda folder: (folder / "training.json").write_text("["), "training.json cannot be read"),
    "advice": (
        lambda folder: (folder / "training.json").write_text('{"sampling": {"steps": 3}}'),
        "settings of LightningDiTPipeline must be among",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_models_that_cannot_be_used(models, tmp_path, case):
    damage, says = BAD_MODELS[case]
    shutil.copytree(models / "latents", tmp_path / "model")
    damage(tmp_path / "model")
    result = run("generate", "-o", tmp_path / "out", "--model", tmp_path / "model", "-n", 1, "--steps", 1, code=1)
    assert "--model: " in result.stderr and says in result.stderr and not (tmp_path / "out").exists()


def test_no_embedded_generator(tmp_path, monkeypatch):
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", tmp_path / "checkpoints")
    result = run("generate", "-o", tmp_path / "out", code=1)
    assert "--model: model must be a folder" in result.stderr and "'lightning-dit-tiny'" in result.stderr


def test_the_default_is_the_embedded_generator(models, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    shutil.copytree(models / "latents", tmp_path / "checkpoints/lightning-dit-tiny")
    monkeypatch.setattr("atoken_headers.model_folders.CHECKPOINTS", tmp_path / "checkpoints")
    assert run_json("generate", "-o", tmp_path / "out", "-n", 1, "--steps", 1)["model"] == "lightning-dit-tiny"


def test_values_that_are_not_finite(models, tmp_path):
    pipeline = lightning_pipeline()
    with torch.no_grad():
        pipeline.transformer.proj_out.bias.fill_(torch.nan)
    pipeline.save_pretrained(tmp_path / "model")
    result = run("generate", "-o", tmp_path / "out", "--model", tmp_path / "model", "-n", 1, "--steps", 1, code=1)
    assert "images must be finite" in result.stderr
