"""Runs of the trainer as a user starts them: stopped, resumed, in two processes, with damage."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file

from atoken import AtokenModel
from atoken.training import checkpoints
from atoken.training.interruption import STOPPED

from ..stage_samples import make_start, write_data, write_stage
from .trainer_runs import ENVIRONMENT, command, losses, processes_of, train, weights


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    return {
        "stage": write_stage(folder / "stage.yaml"),
        "data": write_data(folder),
        "start": make_start(folder / "start"),
    }


@pytest.fixture(scope="module")
def whole_run(files, tmp_path_factory):
    """Runs from the first to the last step without a stop."""
    output = tmp_path_factory.mktemp("whole")
    train(files, output, "--save-every", "2")
    return output


def test_a_run_trains_what_is_to_be_trained(files, whole_run):
    before = AtokenModel.from_pretrained(files["start"]).state_dict()
    after = AtokenModel.from_pretrained(whole_run / "model").state_dict()
    same = {name.split(".")[0] for name, value in before.items() if torch.equal(value, after[name])}
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"vision_model", "latent_proj", "decoder", "logit_scale", "logit_bias"}
    assert same == {"text_model"}
    steps = losses(whole_run)
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert all("image_understanding/loss" in line for line in steps)
    turns = [name for line in steps for name in line if name.endswith("/loss") and not name.startswith("image_und")]
    assert {turn: turns.count(turn) for turn in turns} == {
        "image_reconstruction/loss": 4,
        "video_reconstruction/loss": 2,
        "video_understanding/loss": 2,
    }


def test_latents_stay_where_only_what_follows_them_learns(files, tmp_path):
    ratios = {"image_reconstruction": 2, "video_reconstruction": 1}
    stage = write_stage(tmp_path / "stage.yaml", trained=["decoder"], ratios=ratios, steps=4)
    train({**files, "stage": stage}, tmp_path / "run")
    before = AtokenModel.from_pretrained(files["start"]).state_dict()
    after = AtokenModel.from_pretrained(tmp_path / "run/model").state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert {name.split(".")[0] for name in changed} == {"decoder"}
    assert len({name.split(".")[1] for name in changed}) > 2
    turns = [[name for name in line if name.endswith("/loss")] for line in losses(tmp_path / "run")]
    image, video = ["image_reconstruction/loss"], ["video_reconstruction/loss"]
    assert sorted(turns) == [image, image, image, video] and turns[1] == video


def test_only_the_last_checkpoints_stay(whole_run):
    assert sorted(path.name for path in whole_run.glob("checkpoint-*")) == [
        "checkpoint-00000004",
        "checkpoint-00000006",
        "checkpoint-00000008",
    ]
    assert all(checkpoints.damage(path) is None for path in whole_run.glob("checkpoint-*"))


def test_killed_and_resumed_equals_uninterrupted(files, whole_run, tmp_path):
    process = subprocess.Popen(
        command(files, tmp_path, "--save-every", "2"), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    # Checkpoints are written while training goes on; each is sealed before the next one begins.
    second = tmp_path / "checkpoint-00000004"
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline and not second.exists():
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert second.exists() and not (tmp_path / "model").exists()
    # The newest checkpoint is cut in half, as if the disk had been full: the one before it has to do.
    newest = checkpoints.newest(tmp_path)
    tensors = newest / "tensors/__0_0.distcp"
    tensors.write_bytes(tensors.read_bytes()[: tensors.stat().st_size // 2])
    messages = train(files, tmp_path, "--save-every", "2", "--resume", "auto")
    assert f"{newest} is passed over: tensors/__0_0.distcp has" in messages
    assert losses(tmp_path) == losses(whole_run)
    expected, found = weights(whole_run), weights(tmp_path)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_that_is_told_to_stop_saves_and_goes_on(files, whole_run, tmp_path):
    process = subprocess.Popen(
        command(files, tmp_path, "--save-every", "100"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path / "log.jsonl"
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and log.read_text().count("\n") >= 2:
            break
        os.sched_yield()
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate()
    assert process.returncode == STOPPED and "can be resumed from there" in said
    (saved,) = tmp_path.glob("checkpoint-*")
    assert checkpoints.damage(saved) is None and not (tmp_path / "model").exists()
    train(files, tmp_path, "--save-every", "100")
    assert losses(tmp_path) == losses(whole_run)
    expected, found = weights(whole_run), weights(tmp_path)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_is_exported_is_the_average(files, whole_run):
    name = "decoder.out_layer.weight"
    saved = {f"{kind}.model.{name}": torch.empty_like(weights(whole_run)[name]) for kind in ("model", "average")}
    dcp.load(saved, checkpoint_id=whole_run / "checkpoint-00000008/tensors", no_dist=True)
    assert torch.equal(weights(whole_run)[name], saved[f"average.model.{name}"])
    assert not torch.equal(weights(whole_run)[name], saved[f"model.model.{name}"])


def test_two_processes_equal_one(files, tmp_path):
    # One epoch of one resolution, so that batches are limited by their number of samples in both cases.
    stage = write_stage(tmp_path / "stage.yaml", max_tokens=4096, optimizer={"warm_up": 2, "average": 0.9})
    files = {**files, "stage": stage}
    train(files, tmp_path / "one", "--steps", "20")
    train(files, tmp_path / "two", "--steps", "20", "--save-every", "10", processes=2)
    assert [processes_of(tmp_path / name) for name in ("one", "two")] == [1, 2]
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    start = load_file(files["start"] / "model.safetensors")
    moved = max(float((value - start[name]).abs().max()) for name, value in expected.items() if name in start)
    assert moved > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)
    # Stopped half way, two go on as if nothing had been.
    shutil.rmtree(tmp_path / "two/checkpoint-00000020")
    shutil.rmtree(tmp_path / "two/model")
    train(files, tmp_path / "two", "--steps", "20", processes=2)
    resumed = weights(tmp_path / "two")
    assert all(torch.equal(resumed[name], value) for name, value in found.items())
