"""Runs of the trainer as a user starts them: stopped, resumed, in two processes, with damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atoken import AtokenModel
from atoken.training import checkpoints

from .stage_samples import make_start, write_data, write_stage

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
# Sharding needs to be told that there are devices.
SHARDED = {
    "fsdp2": {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "AtokenBlock,Siglip2EncoderLayer",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    },
    "zero2": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
    "zero3": {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
        "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    return {
        "stage": write_stage(folder / "stage.yaml"),
        "data": write_data(folder),
        "start": make_start(folder / "start"),
    }


def command(files: dict[str, Path], output: Path, *options: str, processes: int = 1, sharded: str = "") -> list[str]:
    program = ["-m", "atoken.training.train"]
    if sharded:
        program = [str(Path(__file__).parent / "on_cpu.py")]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--rdzv_backend", "c10d"]
    torchrun += ["--rdzv_endpoint", "localhost:0"]
    launcher = [sys.executable, *(torchrun if processes > 1 else []), *program]
    arguments = ["--data", str(files["data"]), "--init-from", str(files["start"]), "--output", str(output)]
    arguments += ["--log-every", "1", "--threads", "1"]
    return [*launcher, str(files["stage"]), *arguments, *options]


def run(*arguments, **options) -> subprocess.CompletedProcess:
    environment = {**ENVIRONMENT, **SHARDED.get(options.get("sharded", ""), {"ACCELERATE_USE_CPU": "true"})}
    return subprocess.run(command(*arguments, **options), env=environment, capture_output=True, text=True, check=False)


def train(*arguments, **options) -> str:
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def processes_of(output: Path) -> int:
    return json.loads((checkpoints.newest(output) / "progress-0.json").read_text())["processes"]


def losses(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens per second"} for line in lines]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model/model.safetensors")


@pytest.fixture(scope="module")
def whole_run(files, tmp_path_factory):
    """A run from the first to the last step without a stop."""
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
    # Every step writes a line; the fifth comes after the second checkpoint and before the third.
    log = tmp_path / "log.jsonl"
    while process.poll() is None and (not log.is_file() or log.read_text().count("\n") < 5):
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    # The newest checkpoint is cut in half, as if the disk had been full: the one before it has to do.
    newest = checkpoints.newest(tmp_path)
    tensors = newest / "average-0.safetensors"
    tensors.write_bytes(tensors.read_bytes()[: tensors.stat().st_size // 2])
    messages = train(files, tmp_path, "--save-every", "2", "--resume", "auto")
    assert f"{newest} is passed over: average-0.safetensors has" in messages
    assert losses(tmp_path) == losses(whole_run)
    expected, found = weights(whole_run), weights(tmp_path)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_is_exported_is_the_average(files, whole_run):
    state = load_file(whole_run / "checkpoint-00000008/state/model.safetensors")
    average = load_file(whole_run / "checkpoint-00000008/average-0.safetensors")
    exported = weights(whole_run)
    name = "decoder.out_layer.weight"
    torch.testing.assert_close(exported[name], average[f"model.{name}"], rtol=0, atol=0)
    assert not torch.equal(exported[name], state[f"model.{name}"])


@pytest.mark.parametrize("sharded", SHARDED)
def test_shards_train_resume_and_equal_whole_copies(files, sharded, tmp_path):
    if sharded.startswith("zero"):
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    train(files, tmp_path / "whole", "--steps", "10", "--save-every", "5", processes=2, sharded=sharded)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed/checkpoint-00000010")
    shutil.rmtree(tmp_path / "resumed/model")
    train(files, tmp_path / "resumed", "--steps", "10", "--save-every", "5", processes=2, sharded=sharded)
    train(files, tmp_path / "copies", "--steps", "10", processes=2)
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")
    whole, resumed, copies = (weights(tmp_path / name) for name in ("whole", "resumed", "copies"))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)
        torch.testing.assert_close(copies[name], value, rtol=0, atol=1e-5, msg=name)


def test_two_processes_equal_one(files, tmp_path):
    # One epoch of one resolution, so that batches are limited by their number of samples in both cases.
    stage = write_stage(tmp_path / "stage.yaml", max_tokens=4096, optimizer={"warm_up": 2, "average": 0.9})
    files = {**files, "stage": stage}
    train(files, tmp_path / "one", "--steps", "20")
    train(files, tmp_path / "two", "--steps", "20", processes=2)
    assert [processes_of(tmp_path / name) for name in ("one", "two")] == [1, 2]
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    start = load_file(files["start"] / "model.safetensors")
    moved = max(float((value - start[name]).abs().max()) for name, value in expected.items() if name in start)
    assert moved > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)
