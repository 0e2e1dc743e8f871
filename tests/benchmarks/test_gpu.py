"""`benchmarks/gpu.py` in small sizes on a CPU: every part gives rows, and none can hold up or spoil the others."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from on_gpu import checkout  # noqa: E402
from on_gpu.arithmetic import forward_flops  # noqa: E402
from on_gpu.models import Case, make_model  # noqa: E402
from on_gpu.parts import Setup, attempt, run_part  # noqa: E402

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
