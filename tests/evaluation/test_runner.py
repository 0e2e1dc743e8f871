"""`atoken evaluate`: stopped and resumed, in any number of processes and sizes of chunks, and what is refused early."""

import gc
import json
import pickle
import re
import subprocess
import sys
import weakref
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
import yaml
from PIL import Image

from atoken.evaluation.caption_measures import CaptionMeasures
from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.interface import Embedder
from atoken.evaluation.metrics import weight_files
from atoken.evaluation.models import atoken_features, atoken_tokenizers
from atoken.evaluation.models.image_codecs import ImageCodec
from atoken.evaluation.opened_measures import OpenedMeasures
from atoken.evaluation.opened_models import OpenedModels
from atoken.evaluation.plan import build_tasks
from atoken.evaluation.reconstruction import Measures
from atoken.evaluation.registry import EMBEDDERS, TOKENIZERS
from atoken.evaluation.results import Results
from atoken.evaluation.runner import evaluate
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
    # Names of unfinished files begin with a dot.
    while process.poll() is None and not list(chunks.rglob("[0-9]*.safetensors")):
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
    done = list(chunks.rglob("[0-9]*.safetensors"))
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
    with pytest.raises(ValueError, match="choose another output, or overwrite"):
        evaluate(changed, folder / "whole")
    assert evaluate(changed, folder / "again").results[0].numbers.keys() >= {"psnr"}
    evaluate(_config(folder), folder / "again", overwrite=True)
    assert (folder / "again" / "results.json").read_bytes() == (folder / "whole" / "results.json").read_bytes()


def test_what_is_wrong_is_said_before_old_results_are_removed(folder, whole):
    wrong = _config(folder, "wrong", embedders={"a": {"adapter": "atoken-features", "model": str(folder / "none")}})
    before = sorted((folder / "whole").rglob("*"))
    with pytest.raises(FileNotFoundError, match="none"):
        evaluate(wrong, folder / "whole", overwrite=True)
    # Its last set is another, so that the plans of the first ones are right.
    sets = yaml.safe_load(_config(folder).read_text())["sets"]
    changed = _config(folder, "other", sets={**sets, "classes": {**sets["classes"], "size": 16}})
    with pytest.raises(ValueError, match="choose another output, or overwrite"):
        evaluate(changed, folder / "whole")
    assert sorted((folder / "whole").rglob("*")) == before


def test_results_are_read_as_they_were_written(folder, whole):
    results = Results.read(folder / "whole" / "results.json")
    assert results.to_dict() == whole and list(results.by_set()) == ["pictures", "classes"]


def test_progress_is_told_for_what_is_to_do(folder, tmp_path):
    told = []
    evaluate(_config(folder), tmp_path, progress=lambda *values: told.append(values))
    names = ("ours on pictures", "jpeg on pictures", "latents on classes")
    assert told == [(name, done, 5) for name in names for done in range(6)]
    (tmp_path / "chunks" / "jpeg" / "pictures" / "000003.safetensors").unlink()
    told.clear()
    evaluate(_config(folder), tmp_path, progress=lambda *values: told.append(values))
    assert told == [("jpeg on pictures", 0, 1), ("jpeg on pictures", 1, 1)]


class _CountedCodec(ImageCodec):
    """Counts how often it is constructed, as does the embedder."""

    constructed: list[str] = []

    def __init__(self, codec: str, bits_per_pixel: float):
        self.constructed.append("codec")
        super().__init__(codec, bits_per_pixel)


class _CountedEmbedder(Embedder):
    kinds = frozenset({"image"})

    def __init__(self):
        _CountedCodec.constructed.append("embedder")

    def embed(self, samples):
        return torch.stack([sample.float().mean((0, 2, 3)) for sample in samples])

    def embed_texts(self, texts):
        return torch.tensor([[len(text), text.count("e"), text.count("a")] for text in texts]).float()


def test_every_model_is_constructed_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(_CountedCodec, "constructed", [])
    monkeypatch.setitem(TOKENIZERS, "counted", _CountedCodec)
    monkeypatch.setitem(EMBEDDERS, "counted", _CountedEmbedder)
    pictures, drawn = {"set": "image-folder", "folder": str(folder / "pictures")}, {"kind": "image", "count": 16}
    config = _config(
        folder,
        "counted",
        sets={
            "small": {**pictures, "size": 16},
            "large": {**pictures, "size": 32},
            "shapes": {"set": "miniature-classification", "task": "classification", **drawn},
            "captions": {"set": "miniature-retrieval", "task": "retrieval", **drawn},
            "places": {"set": "miniature-classification", "task": "projection", **drawn},
        },
        tokenizers={"a": {"adapter": "counted", "codec": "jpeg", "bits_per_pixel": 3.0}},
        embedders={"a": {"adapter": "counted"}},
    )
    models = OpenedModels()
    results = evaluate(config, tmp_path, models=models)
    assert [(result.model, result.set) for result in results.results] == [
        ("a", name) for name in ("small", "large", "shapes", "captions", "places")
    ]
    # The page shows the worst samples, which were decoded for it.
    assert len(list((tmp_path / "worst").rglob("*.png"))) == 8
    # The caller goes on with the same models.
    read = EvaluationConfig.read(config)
    assert models[read.tokenizers[0]].encode(load_square(folder / "pictures" / "a" / "0.png", 32)).bits > 0
    assert models[read.embedders[0]].embed_texts(["a"]).shape == (1, 3)
    assert _CountedCodec.constructed == ["codec", "embedder"]


@pytest.mark.parametrize("processes", [1, 2])
def test_weights_are_loaded_once_in_a_process(folder, whole, tmp_path, monkeypatch, processes):
    loaded, load_model = [], atoken_tokenizers.load_model
    for module in (atoken_tokenizers, atoken_features):
        monkeypatch.setattr(module, "load_model", lambda *given: loaded.append(given) or load_model(*given))
    results = evaluate(_config(folder), tmp_path, processes)
    assert len(loaded) == 2  # "ours" and "latents", which are the same folder
    _assert_close(_numbers(results.to_dict()), _numbers(whole))


@pytest.mark.parametrize(
    ("changes", "error", "name"),
    [
        ({"sets": {"none": {"set": "image-folder", "folder": "/nowhere"}}}, FileNotFoundError, "nowhere"),
        ({"measures": ["psnr", "lpips"]}, FileNotFoundError, "vgg16"),
        ({"measures": ["rfid"]}, FileNotFoundError, "inception"),
        ({"measures": ["st-lpips-vgg"]}, FileNotFoundError, "stlpips-pytorch"),
        ({"measures": ["fd-lite0"], "weights": {"fd-lite0": "/nowhere.pth"}}, FileNotFoundError, "nowhere"),
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
    monkeypatch.setattr(weight_files, "find_spec", lambda package: None)
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


def opened(*names: str) -> OpenedMeasures:
    return OpenedMeasures(Measures(names, {}), CaptionMeasures((), {}))


def test_tasks_need_what_they_measure(folder, tmp_path):
    sets = {"a": {"set": "image-folder", "folder": str(folder / "pictures"), "task": "retrieval"}}
    config = EvaluationConfig.read(_config(folder, "retrieval", sets=sets))
    with pytest.raises(ValueError, match="a must have a caption"):
        build_tasks(config, OpenedModels(), opened(), tmp_path)


def test_a_plan_keeps_no_model_and_writes_nothing(folder, tmp_path):
    models = OpenedModels()
    tasks = build_tasks(EvaluationConfig.read(_config(folder)), models, opened("psnr", "ssim"), tmp_path)
    assert [task.name for task in tasks] == ["ours on pictures", "jpeg on pictures", "latents on classes"]
    kept = [weakref.ref(models[task.entry]) for task in tasks]
    models.keep([])
    gc.collect()
    assert [reference() for reference in kept] == [None] * 3
    assert pickle.loads(pickle.dumps(tasks[0])).samples.samples[0].load().shape == (1, 3, 32, 32)
    assert list(tmp_path.iterdir()) == []
