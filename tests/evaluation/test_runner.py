"""`atoken evaluate`: stopped and resumed, in any number of processes and sizes of chunks, and what is refused early."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
import yaml
from PIL import Image

from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.models.image_codecs import ImageCodec
from atoken.evaluation.runner import build_tasks, evaluate
from atoken.evaluation.sets.image_sets import load_square
from atoken.tokenizing.quality import psnr

from ..cli_samples import run, run_json, save_model
from ..processing.samples import photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("evaluation")
    for index in range(9):
        path = root / "pictures" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(40, 56, index)).save(path)
    save_model(root / "discrete", discrete=True)
    return root


def _config(folder: Path, name: str = "config", **changes) -> Path:
    values = {
        "title": "Test",
        "chunk_size": 2,
        "sets": {
            "pictures": {"set": "image-folder", "folder": str(folder / "pictures"), "size": 32},
            "classes": {
                "set": "labelled-folder",
                "task": "projection",
                "folder": str(folder / "pictures"),
                "size": 32,
            },
        },
        "tokenizers": {
            "ours": {"adapter": "atoken", "model": str(folder / "discrete")},
            "jpeg": {"adapter": "image-codec", "codec": "jpeg", "bits_per_pixel": 4.0},
        },
        "embedders": {"latents": {"adapter": "atoken-features", "model": str(folder / "discrete"), "layer": "latents"}},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(folder) -> dict:
    output = folder / "whole"
    evaluate(_config(folder), output)
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def _numbers(results: dict) -> list[tuple]:
    return [(one["model"], one["set"], one["numbers"]) for one in results["results"]]


def test_numbers_are_means_over_samples(folder, whole):
    found = {one["model"]: one["numbers"] for one in whole["results"] if one["set"] == "pictures"}
    codec, values, bits = ImageCodec("jpeg", 4.0), [], []
    for path in sorted((folder / "pictures").rglob("*.png")):
        image = load_square(path, 32)
        encoded = codec.encode(image)
        values.append(psnr(codec.decode(encoded), image))
        bits.append(encoded.bits)
    assert found["jpeg"]["psnr"] == pytest.approx(sum(values) / 9, abs=1e-9)
    assert found["jpeg"]["bits_per_pixel"] == pytest.approx(sum(bits) / 9 / 32**2, abs=1e-12)
    assert found["jpeg"]["count"] == 9 and 0 < found["ours"]["codebook"]["usage"] <= 1


def test_every_number_has_its_protocol(whole):
    for one in whole["results"]:
        protocol = one["protocol"]
        assert len(protocol["set"]["checksum"]) == 64 and protocol["set"]["protocol"]["count"] == 9
        assert protocol["model"]["class"] and protocol["libraries"]["torch"]


def test_killed_and_resumed_gives_the_same_json(folder, whole):
    output = folder / "killed"
    command = [sys.executable, "-c", "from atoken_app.main import main; main()"]
    command += ["evaluate", str(_config(folder)), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    chunks = output / "chunks"
    while process.poll() is None and not list(chunks.rglob("*.safetensors")):
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
    done = list(chunks.rglob("*.safetensors"))
    assert done and not (output / "results.json").exists()
    # One that was cut short while it was written in place, as no rename would leave it.
    done[0].write_bytes(done[0].read_bytes()[:40])
    run("evaluate", _config(folder), "--output", output)
    assert (output / "results.json").read_bytes() == (folder / "whole" / "results.json").read_bytes()


def _assert_close(first, second):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            _assert_close(first[key], second[key])
    elif isinstance(first, list):
        for pair in zip(first, second, strict=True):
            _assert_close(*pair)
    else:
        assert first == (pytest.approx(second, abs=1e-6) if isinstance(first, float) else second)


def test_processes_and_chunks_do_not_change_a_number(folder, whole):
    found = run_json("evaluate", _config(folder), "--output", folder / "two", "--processes", 2)
    _assert_close(_numbers(found), _numbers(whole))
    found = run_json("evaluate", _config(folder, "chunks", chunk_size=5), "--output", folder / "chunks")
    _assert_close(_numbers(found), _numbers(whole))


def test_the_page_shows_tables_plots_and_the_worst(folder, whole):
    page = (folder / "whole" / "index.html").read_text(encoding="utf-8")
    assert "PSNR over bits" in page and "t-SNE" in page and "Worst of ours" in page and "FLUX.1 [dev]" in page
    pictures = re.findall(r'src="(worst/[^"]+)"', page)
    assert len(pictures) == 8 and all((folder / "whole" / unquote(name)).is_file() for name in pictures)
    assert "http://" not in page and "https://" not in page
    text = (folder / "whole" / "results.md").read_text(encoding="utf-8")
    assert "| jpeg |" in text and "paper, Table 4" in text


def test_another_configuration_does_not_mix_into_the_results(folder, whole):
    changed = _config(folder, "other", measures=["psnr"])
    with pytest.raises(ValueError, match="--overwrite"):
        evaluate(changed, folder / "whole")
    assert evaluate(changed, folder / "again")["results"][0]["numbers"].keys() >= {"psnr"}
    evaluate(_config(folder), folder / "again", overwrite=True)
    assert (folder / "again" / "results.json").read_bytes() == (folder / "whole" / "results.json").read_bytes()


@pytest.mark.parametrize(
    ("changes", "error", "name"),
    [
        ({"sets": {"none": {"set": "image-folder", "folder": "/nowhere"}}}, FileNotFoundError, "nowhere"),
        ({"measures": ["psnr", "lpips"]}, FileNotFoundError, "vgg16"),
        ({"measures": ["rfid"]}, FileNotFoundError, "inception"),
        ({"embedders": {"t": {"adapter": "atoken", "model": "FOLDER/discrete"}}}, ValueError, "text tower"),
        (
            {"tokenizers": {"v": {"adapter": "video-codec", "codec": "h264", "bits_per_pixel": 1}}},
            ValueError,
            "fits none",
        ),
        ({"measures": ["mse"]}, ValueError, "mse"),
        ({"chunk_size": 0}, ValueError, "chunk_size"),
        ({"sets": {}}, ValueError, "sets"),
        ({"tokenisers": {}}, ValueError, "tokenisers"),
        ({"tokenizers": {"a/b": {"adapter": "atoken", "model": "atoken-tiny"}}}, ValueError, "a/b"),
        ({"tokenizers": {"a": {"adapter": "vae"}}}, ValueError, "vae"),
        ({"tokenizers": {"a": {"adapter": "atoken", "modle": "x"}}}, ValueError, "modle"),
        ({"tokenizers": {"a": {"adapter": "atoken", "model": "x", "sets": ["y"]}}}, ValueError, "'y'"),
        ({"sets": {"a": {"set": "image-folder", "folder": ".", "task": "guess"}}}, ValueError, "guess"),
        ({"tokenizers": {}, "embedders": {}}, ValueError, "nothing to measure"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(folder, tmp_path, monkeypatch, changes, error, name):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    path = _config(folder, "wrong", **changes)
    path.write_text(path.read_text().replace("FOLDER", str(folder)))
    with pytest.raises(error, match=name):
        evaluate(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_is_missing(folder, tmp_path):
    config = _config(folder, "missing", sets={"none": {"set": "image-folder", "folder": "/nowhere"}})
    result = run("evaluate", config, "--output", tmp_path / "out", code=1)
    assert "nowhere" in result.stderr and not (tmp_path / "out").exists()
    result = run("evaluate", tmp_path / "none.yaml", "--output", tmp_path / "out", code=2)
    assert "none.yaml" in result.stderr


def test_tasks_need_what_they_measure(folder, tmp_path):
    sets = {"a": {"set": "image-folder", "folder": str(folder / "pictures"), "task": "retrieval"}}
    config = EvaluationConfig.read(_config(folder, "retrieval", sets=sets))
    with pytest.raises(ValueError, match="caption"):
        build_tasks(config, tmp_path)
