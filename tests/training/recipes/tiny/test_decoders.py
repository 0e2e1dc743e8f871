"""Decoders that go on alone: which weights they are of, what runs, and what the released folder keeps."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from atoken import AtokenConfig, AtokenModel, AtokenQuantizerConfig
from atoken.training.data.tasks import read_data
from atoken.training.frozen_rows import FILE, ProtectedRows
from atoken.training.recipes.tiny import decoders
from atoken.training.recipes.tiny.curriculum import EVALUATION, PERCEPTION, localized
from atoken.training.recipes.tiny.evaluation_parts import drop_understanding
from atoken.training.recipes.tiny.release import release
from atoken.training.tokenizer.curriculum import Stage
from atoken.training.tokenizer.validation import write_configuration

from ...stage_samples import LATENTS, make_start


@pytest.fixture
def start(tmp_path):
    folder = make_start(tmp_path / "start")
    model = AtokenModel.from_pretrained(folder)
    model.config.latents_mean, model.config.latents_std = [0.5] * LATENTS, [2.0] * LATENTS
    model.save_pretrained(folder)
    ProtectedRows({"decoder.input_layer.weight": torch.tensor([0, 1])}).save(folder)
    return folder


def test_the_stage_and_its_file_follow_from_the_quantizer(tmp_path):
    AtokenConfig().save_pretrained(tmp_path)
    assert decoders.stage_of(tmp_path) == 3
    AtokenConfig(quantizer_config=AtokenQuantizerConfig()).save_pretrained(tmp_path)
    assert decoders.stage_of(tmp_path) == 4
    continuous, discrete = (Stage.read(decoders.stage_file_of(stage)) for stage in (3, 4))
    assert not continuous.quantize and discrete.quantize
    for stage in (continuous, discrete):
        # Nothing that latents depend on.
        assert stage.trained == ("decoder",)
        assert all(task.endswith("reconstruction") for task in stage.tasks)
        assert stage.optimizer == continuous.optimizer


def save_as_bf16(folder):
    AtokenModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)


def test_only_reconstruction_is_measured_again(tmp_path):
    for path, count in ((EVALUATION, 11), (PERCEPTION, 0)):
        template = localized(path, Path("/somewhere"), tmp_path / path.name)
        assert len(drop_understanding(template)) == count
        config = write_configuration(template, Path("/a/model"), tmp_path / "filled.yaml")
        assert config.embedders == () and {entry.task for entry in config.sets} == {"reconstruction"}


def test_an_encoder_that_has_changed_is_not_released(start, tmp_path):
    shutil.copytree(start, tmp_path / "other")
    decoders.check_the_rest_is_the_same(start, tmp_path / "other", ("decoder",))
    model = AtokenModel.from_pretrained(start)
    with torch.no_grad():
        model.decoder.blocks[0].mlp.fc1.weight[0] += 1
    model.save_pretrained(tmp_path / "other")
    decoders.check_the_rest_is_the_same(start, tmp_path / "other", ("decoder",))
    with torch.no_grad():
        model.latent_proj.weight[0] += 1
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"must have the encoder of .*start, but differ in latent_proj.weight"):
        decoders.check_the_rest_is_the_same(start, tmp_path / "other", ("decoder",))


def test_statistics_of_latents_that_did_not_change_are_kept(start, tmp_path):
    release(start, None, tmp_path / "released")
    released = AtokenModel.from_pretrained(tmp_path / "released")
    assert released.dtype == torch.bfloat16 and released.config.latents_std == [2.0] * LATENTS
    assert (tmp_path / "released" / FILE).is_file()


def test_a_run_ends_with_a_release_and_its_record_and_is_not_done_twice(start, tmp_path, monkeypatch):
    numbers = {"image shape/top1": 0.5, "photos 256/psnr": 10.0, "photos 256/bits_per_pixel": 3.0}
    before = {"command": "what was before", "stages": {"3": numbers}}
    (start / "training.json").write_text(json.dumps(before))
    runs = []

    def run_stage(stage_file, begin, sources, folder, teacher, options, processes, device):
        runs.append((stage_file.name, teacher, options))
        assert {"source": "miniature", "length": 200000, "size": 0.12} in read_data(sources)["image_reconstruction"]
        shutil.copytree(begin, folder / "model")
        (folder / "log.jsonl").write_text(json.dumps({"step": 7, "minutes": 1.5, "image_reconstruction/loss": 2.0}))

    def run_gaussians(data, checkpoint, out, options):
        if not out.is_dir():
            runs.append((str(data), options[2:]))
            shutil.copytree(checkpoint, out)
            (out / "training_3d.json").write_text('{"steps": 11}')

    monkeypatch.setattr(decoders, "run_stage", run_stage)
    monkeypatch.setattr(decoders, "run_gaussians", run_gaussians)
    measured = {"photos 256/psnr": 20.0, "photos 256/ssim": 0.5, "photos 256/count": 24.0}
    monkeypatch.setattr(decoders, "measure_released", lambda stage, folder, templates: dict(measured))
    monkeypatch.setattr("sys.argv", ["decoders", "somewhere", str(tmp_path / "out"), str(start), "--minutes", "5"])
    for _ in range(2):
        decoders.main(Path("somewhere"), tmp_path / "out", start, 5.0, 2.0, "cpu", 1, evaluate=False, seed=0)
    assert not (tmp_path / "out/record.json").exists()
    save_as_bf16(start)  # as released weights are
    decoders.main(Path("somewhere"), tmp_path / "out", start, 5.0, 2.0, "cpu", 1, evaluate=True, seed=0)
    assert runs == [
        ("tiny-decoders.yaml", None, ["--seed", "0", "--save-every", "200", "--workers", "1", "--minutes", "5.0"]),
        ("somewhere", ["--minutes", "2.0", "--device", "cpu", "--seed", "0"]),
    ]
    record = json.loads((tmp_path / "out/stage-3/released/training.json").read_text())
    assert record["command"] == "python -m atoken.training.recipes.tiny.decoders DATA OUT checkpoints/start --minutes 5"
    assert record["steps"] == {"3": 7} and record["before"] == before and record["gaussian_decoder"] == {"steps": 11}
    assert record["stages"]["3"] == {**measured, "image shape/top1": 0.5}
    assert "| 3 | 20.00 / 0.500 |" in (tmp_path / "out/record.md").read_text()
