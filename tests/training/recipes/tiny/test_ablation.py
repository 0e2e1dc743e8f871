"""The ablation's stage files, table and plot; the runs themselves are the trainer's."""

import json

import pytest
import torch

from atoken.evaluation.metrics.feature_networks import RandomGram
from atoken.training.frozen_rows import FILE, ProtectedRows
from atoken.training.recipes.tiny import ablation
from atoken.training.tokenizer.curriculum import Stage
from atoken.training.tokenizer.networks import ImageLosses

from ...stage_samples import make_start


def test_arms_differ_in_what_they_are_named_for(tmp_path):
    for arms in ablation.COMPARISONS.values():
        stages = {arm.name: Stage.read(ablation.write_stage(arm, 7, tmp_path / "stage.yaml")) for arm in arms}
        assert all((stage.steps, stage.latent_channels) == (7, 48) for stage in stages.values())
        assert len({ablation.folder_of(arm, tmp_path) for arm in arms}) == len(arms)
    chosen = [
        ImageLosses.choose(
            arm.losses, Stage.read(ablation.write_stage(arm, 7, tmp_path / "stage.yaml")).losses["image"]
        )
        for arm in ablation.COMPARISONS["losses"]
    ]
    assert [list(losses.weights) for losses in chosen] == [["l1"], ["l1", "lpips"], ["l1", "lpips", "gram"]]
    # Paper, section 3.5: lambda_1 : lambda_LPIPS : lambda_GRAM.
    whole = chosen[-1].weights
    assert (whole["lpips"] / whole["l1"], whole["gram"] / whole["l1"]) == (10, 1000)
    alike = [(s.max_tokens, s.batch_sizes, s.losses, s.optimizer) for s in stages.values()]
    assert all(each == alike[0] for each in alike)
    tasks = {(arm.layers, arm.stage): len(stages[arm.name].ratios) for arm in ablation.COMPARISONS["media"]}
    assert tasks == {(layers, stage): count for layers in (4, 8) for stage, count in ((1, 1), (2, 3), (3, 5))}


def test_table_and_plot_come_from_what_was_measured(tmp_path, monkeypatch):
    run = tmp_path / "run"
    start = make_start(run / "start/wide", gaussians=True)
    trained = []

    def train(stage_file, start, data_file, out, teacher, options):
        assert (start / FILE).is_file() and data_file.is_file() and Stage.read(stage_file).steps == 3
        trained.append(Stage.read(stage_file).name)

    def measure(template, model, output):
        assert "MODEL" in template.read_text()
        number = len(trained)
        return {key: number / 100 for key in ablation.COLUMNS}, {}

    monkeypatch.setattr(ablation, "run_stage", train)
    monkeypatch.setattr(ablation, "validate", measure)
    monkeypatch.setattr(ablation, "start_of", lambda layers, *folders: start)
    ProtectedRows({"decoder.input_layer.weight": torch.tensor([0, 1])}).save(start)
    for _ in range(2):
        ablation.main(tmp_path / "data", run, tmp_path / "out", "losses,media", 3, 3, start)
    assert len(trained) == 9  # once each
    text = (tmp_path / "out/ablation.md").read_text()
    assert "| L1 | 0.01 | 0.010 | 10.00 | 0.01 | 1.0 | 1.0 |" in text
    assert "| images, videos, 3D, 8 + 8 blocks | 0.09 |" in text
    assert (tmp_path / "out/ablation.png").stat().st_size > 10_000
    stored = json.loads(
        (ablation.folder_of(ablation.COMPARISONS["losses"][1], tmp_path / "out") / "numbers.json").read_text()
    )
    assert stored["photos/psnr"] == 0.02


def test_random_gram_sees_texture_and_not_its_place():
    pytest.importorskip("lpips")
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, 3, 64, 64), generator=generator, dtype=torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(picture.float(), 3, 1, 1).to(torch.uint8)
    moved = picture.roll(5, dims=-1)
    gram = RandomGram()
    same, less, other = (float(gram(one, picture)) for one in (picture, moved, blurred))
    # Texture is the same wherever it is, and not the same blurred.
    assert same == 0 and less < 0.05 * other
    again = RandomGram()
    assert float(again(blurred, picture)) == other
