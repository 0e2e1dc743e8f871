"""The ablation's stage files, tables, plots and pictures; the runs themselves are the trainer's."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.evaluation.metrics.feature_networks import RandomGram
from atoken.training.frozen_rows import FILE, ProtectedRows
from atoken.training.recipes.tiny import ablation
from atoken.training.recipes.tiny.ablation import COMPARISONS, Bench
from atoken.training.recipes.tiny.ablation_report import COLUMNS, read_logits, write_contact_sheet
from atoken.training.tokenizer.curriculum import Stage
from atoken.training.tokenizer.networks import ImageLosses

from ...stage_samples import make_start, write_photos


def test_arms_differ_in_what_they_are_named_for(tmp_path):
    bench = Bench(tmp_path / "data", tmp_path / "out", run=tmp_path / "run")
    stages = {}
    for arms in COMPARISONS.values():
        stages = {arm.name: Stage.read(bench.write_stage(arm, 7, tmp_path / "stage.yaml")) for arm in arms}
        assert all((stage.steps, stage.latent_channels) == (7, 48) for stage in stages.values())
        assert len({bench.folder_of(arm) for arm in arms}) == len(arms)
    alike = [(s.max_tokens, s.batch_sizes, s.losses, s.optimizer) for s in stages.values()]
    assert all(each == alike[0] for each in alike)
    tasks = {(arm.layers, arm.stage): len(stages[arm.name].ratios) for arm in COMPARISONS["media"]}
    assert tasks == {(layers, stage): count for layers in (4, 8) for stage, count in ((1, 1), (2, 3), (3, 5))}


@pytest.mark.parametrize(("trunk", "distance"), [("vgg", "st_lpips"), ("alex", "st_lpips_alex")])
def test_losses_are_added_one_by_one_on_one_trunk(trunk, distance, tmp_path):
    bench = Bench(tmp_path / "data", tmp_path / "out", checkpoint=tmp_path / "released", trunk=trunk)
    arms = COMPARISONS["losses"]
    stages = [Stage.read(bench.write_stage(arm, 7, tmp_path / "stage.yaml")) for arm in arms]
    assert all(stage == stages[0] for stage in [Stage(**{**vars(one), "name": stages[0].name}) for one in stages])
    chosen = [
        ImageLosses.choose(bench.losses_of(arm), stage.losses["image"]) for arm, stage in zip(arms, stages, strict=True)
    ]
    assert [list(one.weights) for one in chosen] == [
        ["l1"],
        ["l1", distance],
        ["l1", distance, "gram"],
        ["l1", distance],
    ]
    assert [arm.adversarial for arm in arms] == [False, False, False, True]
    # What is trained already moves slower than PCA would.
    first = Bench(tmp_path, tmp_path, run=tmp_path).write_stage(arms[0], 7, tmp_path / "first.yaml")
    assert stages[0].optimizer.rate < Stage.read(first).optimizer.rate


def _log(folder, real):
    lines = [
        {"step": 5, "image_reconstruction/l1": 0.1},
        {"step": 5, "image_reconstruction/logits_real": real, "image_reconstruction/logits_fake": -real},
        {"step": 10, "image_reconstruction/logits_real": 2 * real, "image_reconstruction/logits_fake": -2 * real},
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[0 if real else 3 :]))


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Stands for trainings and for the harness: lists the stages that were trained."""
    trained = []

    def train(stage_file, start, data_file, out, teacher, options, device):
        assert data_file.is_file() and Stage.read(stage_file).steps == 3 and device == "cpu"
        trained.append((Stage.read(stage_file).name, start, teacher, options))
        _log(out, 0)

    def train_adversarially(stage_file, start, data_file, out, teacher, options, device):
        train(stage_file, start, data_file, out, teacher, options, device)
        _log(out, 0.5)

    def measure(template, model, output):
        assert "MODEL" in template.read_text()
        number = len(trained)
        return {key: number / 100 for key in COLUMNS if not key.startswith("clips")}, {}

    monkeypatch.setattr(ablation, "run_stage", train)
    monkeypatch.setattr(ablation, "train_adversarially", train_adversarially)
    monkeypatch.setattr(ablation, "validate", measure)
    monkeypatch.setattr(ablation, "write_contact_sheet", lambda models, folder, path: path.write_text(str([*models])))
    return trained


def test_losses_go_on_from_released_weights(trained, tmp_path):
    released, out = tmp_path / "released", tmp_path / "out"
    for _ in range(2):
        ablation.main(tmp_path / "data", out, None, released, "losses", 3, 3, "alex", released, "cpu")
    assert [(start, teacher) for _, start, teacher, _ in trained] == [(released, released)] * 4  # once each
    assert [options[options.index("--losses") + 1] for *_, options in trained] == [
        "l1",
        "l1,st-lpips-alex",
        "l1,st-lpips-alex,gram",
        "l1,st-lpips-alex",
    ]
    text = (out / "ablation.md").read_text()
    assert "| arm | photos, PSNR (dB) | SSIM | ST-LPIPS (VGG) | ST-LPIPS (AlexNet) | FD (EfficientNet-lite0) |" in text
    assert "| the start | 0.00 | 0.000 | 0.000 |" in text and "| L1, ST-LPIPS | 0.02 | 0.020 | 0.020 |" in text
    assert (out / "losses.png").stat().st_size > 10_000 and not (out / "media.png").exists()
    names = ["the start", *(arm.name for arm in COMPARISONS["losses"])]
    assert (out / "pictures.png").read_text() == str(names)
    bench = Bench(tmp_path / "data", out, checkpoint=released)
    found = [read_logits(bench.folder_of(arm)) for arm in COMPARISONS["losses"]]
    assert found == [None, None, None, {"step": [5, 10], "real": [0.5, 1.0], "fake": [-0.5, -1.0]}]


def test_media_begin_with_a_run(trained, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "out"
    start = make_start(run / "start/wide", gaussians=True)
    monkeypatch.setattr(Bench, "start_of", lambda self, layers: start)
    monkeypatch.setattr(ablation, "plot_media", lambda rows, sizes, path: path.write_text(json.dumps(sizes)))
    ProtectedRows({"decoder.input_layer.weight": torch.tensor([0, 1])}).save(start)
    ablation.main(tmp_path / "data", out, run, None, "media", 3, 3, "alex", start, "cpu")
    assert [teacher for _, _, teacher, _ in trained] == [run / "stage-0/model"] * 6
    assert all((start / FILE).is_file() for _, start, _, _ in trained)
    assert "| images, videos, 3D, 8 + 8 blocks | 0.06 |" in (out / "ablation.md").read_text()
    sizes = json.loads((out / "media.png").read_text())
    assert sizes["4"]["images and videos"] == "images and videos, 4 + 4 blocks" and len(sizes["8"]) == 3


def test_media_are_plotted(tmp_path):
    rows = {arm.name: {"photos/psnr": 25.0, "clips/psnr": 30.0} for arm in COMPARISONS["media"]}
    Bench(tmp_path, tmp_path).report("media", rows)
    assert (tmp_path / "media.png").stat().st_size > 10_000


def test_a_start_is_asked_for(tmp_path):
    for given, message in (((None, None), "one of --run and --start"), ((tmp_path, tmp_path), "got both or neither")):
        with pytest.raises(Exception, match=message):
            ablation.main(tmp_path, tmp_path / "out", *given, "losses")
    with pytest.raises(Exception, match="compared from PCA"):
        ablation.main(tmp_path, tmp_path / "out", None, tmp_path, "losses,media")


def test_pictures_are_side_by_side(tmp_path):
    photos = write_photos(tmp_path / "photos", 3)
    model = make_start(tmp_path / "model")
    write_contact_sheet({"one": model, "two": model}, photos, tmp_path / "sheet.png", ["0", "2"], side=48)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (24 + 2 * 54 - 6, 3 * 54 - 6, 3)
    original, first, second = (sheet[24 + 54 :, start : start + 48] for start in (0, 54, 108))
    assert np.array_equal(first, second) and not np.array_equal(first, original)
    with pytest.raises(ValueError, match="names must be beginnings of file names in .*, got nothing"):
        write_contact_sheet({}, photos, tmp_path / "sheet.png", ["nothing"])


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
