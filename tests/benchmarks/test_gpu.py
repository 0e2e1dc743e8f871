"""`benchmarks/gpu.py` in small sizes on a CPU: every part gives rows, and none can hold up or spoil the others."""

import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from gpu import LEAST, allowance  # noqa: E402
from on_gpu import checkout, packages, training_steps  # noqa: E402
from on_gpu.arithmetic import forward_flops  # noqa: E402
from on_gpu.models import Case, make_config, make_model  # noqa: E402
from on_gpu.parts import Setup, attempt, run_part  # noqa: E402

from atoken.training.tokenizer.tiles import Tiles  # noqa: E402

ROOT = BENCHMARKS.parent
SETUP = Setup(torch.device("cpu"), True, Path("nowhere"))
PARTS = ("peaks", "goldens", "coding", "training", "tokenizing", "compiled", "attention", "wan", "splats")


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cpu", "--tiny", "--minutes", "40"]
    subprocess.run([*command, "--json", str(path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_part_gives_rows(record):
    assert list(record["parts"]) == list(PARTS)
    assert {name: part["state"] for name, part in record["parts"].items()} == dict.fromkeys(PARTS, "done")
    rows = [row for part in record["parts"].values() for row in part["rows"]]
    assert not [row for row in rows if "error" in row]
    assert record["machine"]["torch"] == torch.__version__.split("+")[0]


def test_rows_have_what_they_are_for(record):
    rows = {name: part["rows"] for name, part in record["parts"].items()}
    peak = max(row["flops"] for row in rows["peaks"] if "flops" in row)
    for row in rows["coding"]:
        assert row["seconds"] > 0 and row["mfu"] * row["seconds"] * peak > 0
        assert row["tokens_per_second"] * row["seconds"] == pytest.approx(row["tokens"])
    for row in rows["training"]:
        (task, *others), part = row["tasks"], next(iter(row["tasks"].values()))
        assert part["mfu"] == pytest.approx(part["flops"] / part["seconds"] / peak)
        assert bool(others) == (row["case"] == "stage 2") and task == "image_reconstruction"
        assert sum(one["share"] for one in row["tasks"].values()) == pytest.approx(1)
        if others:
            # A clip of 32 frames in one tile has more pairs than in two windows, of which the second sees both.
            whole, cached = (row["tasks"][f"video_reconstruction{kind}"] for kind in ("", " through the cache"))
            assert cached["share"] == pytest.approx(whole["share"] / 9) and cached["flops"] < whole["flops"]
    # fp32 on this machine must be what the authors' code gave, and bf16 within its eight bits.
    for row in rows["goldens"]:
        assert row["decoded"]["distance"] < {"float32": 1e-5, "bfloat16": 0.02}[row["dtype"]]
    naive = [row for row in rows["attention"] if row["variant"] == "naive"]
    assert len(naive) == len(rows["compiled"]) == 4
    assert all(row["distance"] < 1e-5 for row in (*naive, *rows["compiled"]))
    assert all(row["missing"] for row in rows["splats"])


@pytest.mark.parametrize("case", [Case(3, 1, 32, 48), Case(1, 40, 32, 32)])
@torch.no_grad()
def test_operations_are_those_that_torch_counts(case):
    model = make_model(SETUP)
    grids = [case.grid] * case.batch
    tower = model.vision_model
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        model.encode(case.pixels(SETUP), pool=False)
    # Outside of the blocks there are the projections of the input and of the latents.
    width, latents = tower.config.hidden_size, model.config.latent_channels
    around = 2 * case.tokens * width * (tower.in_features + 2 * latents)
    inside = counter.get_total_flops() - around
    norms = sum(p.numel() for p in tower.blocks.parameters() if p.ndim < 2) * 2 * case.tokens
    assert forward_flops(tower, grids) == pytest.approx(inside + norms, rel=1e-9)


def test_batches_are_as_a_trainer_hands_them_over():
    """On the host, and with the layout of the stage's tiles: a step neither reads a device nor lays tokens out."""
    stage, tiles, batches = training_steps.prepare(2, SETUP)
    assert (stage.tile_frames, tiles.frames, tiles.cached_share) == ("sample", "sample", 0.1)
    made = [batch for of_task in batches.values() for batch in of_task]
    assert all(batch.pixel_values.dtype == torch.uint8 and batch.layout is not None for batch in made)
    (clips,) = batches["video_reconstruction"]
    assert clips.grids == [(8, 2, 2)] * 2 and clips.layout.tile == 8
    assert {batch.layout.tile for batch in batches["video_understanding"]} == {4}
    kinds = list(training_steps.kinds_of_steps("video_reconstruction", tiles))
    assert [share for _, share, _ in kinds] == [0.9, 0.1]
    assert ["cache_frames" in tiles.options(clips, step) for *_, step in kinds] == [False, True]


def test_clips_of_a_step_of_the_whole_stage_are_of_one_size(monkeypatch):
    """As the trainer plans them, for one of 256 ranks."""
    setup = replace(SETUP, tiny=False)
    monkeypatch.setattr(
        training_steps, "_noise", lambda task, setup: torch.zeros(3, 512, 512).byte().expand(40, -1, -1, -1)
    )
    stage = training_steps.read_stage(2, setup)
    tiles = Tiles(make_config(SETUP), stage.tile_frames)
    made = training_steps.step_batches("video_reconstruction", stage, tiles, 100, setup)
    assert len({grid for batch in made for grid in batch.grids}) == 1
    assert len(made[0].step_samples) == training_steps.RANKS and sum(made[0].step_samples) % 256 == 0
    assert made[0].layout.tile == made[0].grids[0][0] >= 4


def test_what_training_lacks_is_in_its_rows(monkeypatch):
    monkeypatch.setitem(sys.modules, "atoken.training.tokenizer.curriculum", None)
    training_steps.prepare.cache_clear()
    rows = list(training_steps.measure_training(SETUP))
    assert len(rows) == 4 and all("curriculum" in row["missing"] for row in rows)


def test_a_package_that_is_too_old_is_named_before_anything_is_measured(tmp_path):
    folder = tmp_path / "transformers-5.17.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 5.17.0\n")
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--json", str(tmp_path / "gpu.json"), "--parts", "peaks"]
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1 and done.stderr.startswith(
        "transformers must be 5.23 or newer, got 5.17.0; bring wheels"
    )
    assert not (tmp_path / "gpu.json").exists()


def test_all_packages_that_parts_lack_are_named_at_once(monkeypatch):
    version = importlib.metadata.version

    def found(name: str) -> str:
        if name in ("av", "diffusers"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", found)
    packages.check_packages(["coding", "splats"])
    with pytest.raises(
        ImportError, match="^av must be 17 or newer, got none, diffusers must be 0.41 or newer, got none; "
    ):
        packages.check_packages(PARTS)


def test_packages_are_as_new_as_the_project_asks_for():
    asked = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "setup.py").read_text(encoding="utf-8")))
    assert {name: asked[name] for name in packages.OLDEST} == packages.OLDEST
    assert {*packages.ALWAYS, *(name for each in packages.OF_PARTS.values() for name in each)} == {*packages.OLDEST}
    assert set(packages.OF_PARTS) <= set(PARTS)


def test_a_part_has_a_minute_if_there_is_one():
    assert allowance(540, 1 / 24) == LEAST == 60
    assert allowance(480, 4 / 23) == pytest.approx(480 * 4 / 23)
    assert allowance(20, 1 / 3) == 20


def test_a_part_that_takes_too_long_is_ended_and_its_rows_are_kept():
    def endless(setup):
        yield {"first": 1}
        signal.pause()

    rows = []
    outcome = run_part(endless, SETUP, 1.0, rows.append)
    assert outcome["state"] == "out of time" and rows == [{"first": 1}]


def test_a_part_that_fails_says_why():
    def failing(setup):
        yield {"first": 1}
        raise ValueError("no such kernel")

    def dying(setup):
        yield {"first": 1}
        os._exit(3)

    rows = []
    assert "no such kernel" in run_part(failing, SETUP, 60.0, rows.append)["error"]
    assert run_part(dying, SETUP, 60.0, rows.append)["state"] == "failed"
    assert rows == [{"first": 1}] * 2


def test_what_is_missing_or_fails_is_in_the_row():
    def missing():
        raise ImportError("No module named 'flash_attn'")

    assert attempt({"case": 1}, missing) == {"case": 1, "missing": "No module named 'flash_attn'"}
    assert attempt({"case": 1}, lambda: {"a": 1 / 0})["error"].startswith("ZeroDivisionError")


def test_the_checkout_is_importable_without_being_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(checkout.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    checkout.make_importable()
    assert sys.path[0] == str(tmp_path) == os.environ["PYTHONPATH"]
    for name in ("atoken/modeling_atoken.py", "atoken/processing/__init__.py", "atoken_app/main.py"):
        assert (tmp_path / name).is_file()
