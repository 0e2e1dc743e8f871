"""The tiny curriculum: what it does between its stages, its files, and what becomes of a stage."""

import json
import os
from pathlib import Path

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.evaluation.configuration import EvaluationConfig
from atoken.miniature.world import MiniatureWorld
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor
from atoken.training.data.batches import TrainingBatch
from atoken.training.data.tasks import read_data
from atoken.training.frozen_rows import FILE, ProtectedRows
from atoken.training.recipes.tiny.between_stages import continued, widen, with_codes, with_gaussians
from atoken.training.recipes.tiny.curriculum import (
    EVALUATION,
    HERE,
    PERCEPTION,
    evaluation_for,
    localized,
    run_stage,
    stage_file_of,
)
from atoken.training.recipes.tiny.prepare_miniature import prepare
from atoken.training.recipes.tiny.release import record_of, release, tables_of
from atoken.training.tokenizer.curriculum import Stage
from atoken.training.tokenizer.validation import write_configuration

from ...stage_samples import LATENTS, make_start


@pytest.fixture
def start(tmp_path):
    folder = make_start(tmp_path / "start")
    ProtectedRows({"decoder.input_layer.weight": torch.tensor([0, 1])}).save(folder)
    return folder


def test_between_stages_models_grow_and_keep_what_is_protected(start, tmp_path):
    wide = AtokenModel.from_pretrained(start)
    config = AtokenConfig.from_dict({**wide.config.to_dict(), "latent_channels": 20})
    AtokenModel(config).save_pretrained(tmp_path / "wide")
    widen(start, tmp_path / "wide", tmp_path / "stage-2")
    grown = AtokenModel.from_pretrained(tmp_path / "stage-2")
    assert grown.config.latent_channels == 20 and grown.decoder.input_layer.in_features == 20
    assert torch.equal(grown.decoder.input_layer.weight[:, :LATENTS], wide.decoder.input_layer.weight)
    make_start(tmp_path / "gaussians", seed=3, gaussians=True)
    with_gaussians(tmp_path / "stage-2", tmp_path / "gaussians", tmp_path / "stage-3")
    whole = AtokenModel.from_pretrained(tmp_path / "stage-3")
    expected = AtokenModel.from_pretrained(tmp_path / "gaussians").gaussian_decoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in whole.gaussian_decoder.state_dict().items())
    assert torch.equal(whole.latent_proj.weight, grown.latent_proj.weight)
    assert (tmp_path / "stage-2" / FILE).is_file()
    # What was protected still is, and so is where the Gaussian decoder looks.
    rows = ProtectedRows.load(tmp_path / "stage-3").rows
    assert rows.pop("decoder.input_layer.weight").tolist() == [0, 1]
    looks = {f"gaussian_decoder.{name}" for name, _ in whole.gaussian_decoder.named_parameters()}
    assert {name for name in looks if "norm1" in name or ".attn." in name or "input_layer" in name} == set(rows)
    assert all(len(indices) == len(whole.get_parameter(name)) for name, indices in rows.items())


def test_released_weights_go_on_where_it_is_known_what_was_written_by_hand(start, tmp_path):
    with torch.no_grad():
        model = AtokenModel.from_pretrained(start)
        model.vision_model.blocks[0].mlp.fc2.weight[3] = 0
        model.save_pretrained(start)
    continued(start, tmp_path / "continued")
    went_on = AtokenModel.from_pretrained(tmp_path / "continued")
    assert went_on.vision_model.blocks[0].mlp.fc2.weight[3].abs().amin() > 0
    assert ProtectedRows.load(str(tmp_path / "continued")).rows["decoder.input_layer.weight"].tolist() == [0, 1]
    (start / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"must have its protected_rows.safetensors beside its weights"):
        continued(start, tmp_path / "other")
    with_codes(start, [], tmp_path / "codes", seed=0)
    plain = AtokenModel.from_pretrained(tmp_path / "codes")
    assert plain.quantizer is None and torch.equal(plain.latent_proj.weight, model.latent_proj.weight)


def test_files_of_the_tiny_curriculum_fit_the_harness_and_the_stages(tmp_path):
    data = read_data(localized(HERE / "sources/tiny.yaml", Path("/somewhere"), tmp_path / "data.yaml"))
    for stage in range(5):
        tasks = {"image_understanding", *Stage.read(HERE / f"stages/tiny-{stage}.yaml").ratios}
        assert tasks <= set(data)
    assert data["image_reconstruction"][0]["path"].startswith("/somewhere/photos/train/")
    template = localized(EVALUATION, Path("/somewhere"), tmp_path / "template.yaml")
    for stage, has_objects in ((2, False), (3, True)):
        file = evaluation_for(stage, template, tmp_path / "stage.yaml")
        config = write_configuration(file, Path("/a/model"), tmp_path / "filled.yaml")
        assert isinstance(config, EvaluationConfig)
        assert all(entry.options["model"] == "/a/model" for entry in (*config.tokenizers, *config.embedders))
        assert any("object" in entry.name for entry in config.sets) == has_objects
        assert {"photos 256", "clips", "image shape", "video motion"} <= {entry.name for entry in config.sets}
        assert config.embedders[0].options["video"] == "whole"
    seen = evaluation_for(2, localized(PERCEPTION, Path("/somewhere"), tmp_path / "seen.yaml"), tmp_path / "stage.yaml")
    assert len(write_configuration(seen, Path("/a/model"), tmp_path / "filled.yaml").sets) == 2
    plain = tmp_path / "plain.yaml"
    plain.write_text("title: x\n")
    with pytest.raises(ValueError, match="template must have a model whose folder is written MODEL"):
        write_configuration(plain, Path("/a"), tmp_path / "filled.yaml")


def test_drawn_objects_are_prepared_with_their_captions():
    world = MiniatureWorld("object", "train", 5)
    tensors, caption = prepare(world, 2, AtokenVoxelProcessor(check_visibility=True), 100)
    scene, _ = world.describe(2)
    assert all(word in caption for word in (scene.colour, scene.shape, scene.material))
    assert tensors["coords"].shape == (100, 3) and tensors["rgb"].shape == (100, 768)
    assert tensors["coords"].unique(dim=0).shape == (100, 3) and tensors["coords"].max() < 64


def test_a_stage_is_released_in_bf16_with_the_statistics_of_its_latents(start, tmp_path):
    patches = torch.rand(12, 3072) * 2 - 1
    coords = torch.stack([torch.zeros(12), torch.arange(12) // 4, torch.arange(12) % 4, torch.zeros(12)], 1).long()
    cu_seqlens = torch.tensor([0, 12], dtype=torch.int32)
    tasks = ("image_reconstruction", "video_reconstruction", "video_reconstruction")
    batches = [
        TrainingBatch(task, patches * (place + 1) / 3, coords, cu_seqlens, [(1, 3, 4)], [12], [place])
        for place, task in enumerate(tasks)
    ]
    release(start, batches, tmp_path / "released")
    model = AtokenModel.from_pretrained(start, dtype=torch.float32)
    with torch.no_grad():
        image, *videos = (model.encode(b.pixel_values, b.coords, b.cu_seqlens).latents.double() for b in batches)
    # Half of the weight on the picture, a quarter on each clip.
    weights = torch.cat([torch.full((12,), 0.5), torch.full((24,), 0.25)]).double()[:, None] / 12
    latents = torch.cat([image, *videos])
    mean = (latents * weights).sum(0)
    deviation = ((latents - mean).square() * weights).sum(0).sqrt()
    released = AtokenModel.from_pretrained(tmp_path / "released")
    assert released.dtype == torch.bfloat16
    torch.testing.assert_close(torch.tensor(released.config.latents_mean).double(), mean, atol=2e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(released.config.latents_std).double(), deviation, atol=2e-5, rtol=1e-4)


def test_the_record_has_every_stage_up_to_its_own(tmp_path):
    for stage in (1, 2, 3):
        folder = tmp_path / f"stage-{stage}"
        folder.mkdir()
        lines = [
            {"step": 10 * i, "minutes": i / 2, "image_reconstruction/loss": 1 / i, "image_reconstruction/l1": 5.0}
            for i in range(1, 101)
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    numbers = {
        str(stage): {
            "photos 256/psnr": 20.0 + stage,
            "photos 256/ssim": 0.5,
            "photos 256/count": 24.0,
            "photos 256/exact": 0.0,
            "image shape/top1": 0.123456789,
            "image shape/chance": 0.125,
        }
        for stage in (1, 2, 3)
    }
    record = record_of(numbers, tmp_path, 2, {}, stage_file_of)
    assert list(record["stages"]) == ["1", "2"] and record["steps"] == {"1": 1000, "2": 1000}
    assert record["minutes"] == {"1": 50.0, "2": 50.0} and record["batches"]["2"]["step_tokens"] == 1600
    assert record["held_out"] == {"photos_256": {"psnr": 22.0, "ssim": 0.5, "count": 24.0}}
    assert record["stages"]["1"]["image shape/top1"] == 0.12346 and "photos 256/exact" not in record["stages"]["1"]
    tables = tables_of(numbers)
    assert "| 2 | 22.00 / 0.500 |\n" in tables and "| 3 | 12.3 |" in tables and "| chance | 12.5 |" in tables
    curve = record["curve"]["2"]
    assert curve[0] == {"step": 10, "image_reconstruction": 1.0} and curve[-1]["step"] == 1000 and len(curve) == 40


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stage_runs_in_processes_of_its_own(tmp_path, monkeypatch, processes):
    seen = {}
    monkeypatch.setattr("subprocess.run", lambda command, **options: seen.update(command=command, **options))
    run_stage(
        Path("stage.yaml"), Path("a"), Path("data.yaml"), Path("out"), Path("teacher"), ["--seed", "3"], processes
    )
    after = seen["command"][seen["command"].index("atoken.training.tokenizer.train") :]
    assert after[1:] == "stage.yaml --data data.yaml --init-from a --output out --teacher teacher --seed 3".split()
    assert ("--nproc_per_node" in seen["command"]) == (processes > 1) and seen["check"]
    assert seen["env"]["ACCELERATE_USE_CPU"] == "true"
    run_stage(Path("stage.yaml"), Path("a"), Path("data.yaml"), Path("out"), None, [], processes, device="cuda")
    assert seen["env"].get("ACCELERATE_USE_CPU") == os.environ.get("ACCELERATE_USE_CPU")
