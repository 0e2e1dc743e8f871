"""The trainer in processes of its own, as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from atoken.training import checkpoints

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
# Sharding needs to be told that there are devices.
SHARDED = {
    "fsdp2": {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    },
    "hsdp": {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
        "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
        "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2",
        "PARALLELISM_CONFIG_DP_SHARD_SIZE": "2",
    },
    "zero2": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
    "zero3": {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
        "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
    },
}


def command(files: dict[str, Path], output: Path, *options: str, processes: int = 1, sharded: str = "") -> list[str]:
    program = ["-m", "atoken.training.tokenizer.train"]
    if sharded:
        program = [str(Path(__file__).parent / "on_cpu.py")]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--rdzv_backend", "c10d"]
    torchrun += ["--rdzv_endpoint", "localhost:0"]
    launcher = [sys.executable, *(torchrun if processes > 1 else []), *program]
    arguments = ["--data", str(files["data"]), "--init-from", str(files["start"]), "--output", str(output)]
    arguments += ["--log-every", "1", "--workers", "1"]
    return [*launcher, str(files["stage"]), *arguments, *options]


def run(*arguments, **options) -> subprocess.CompletedProcess:
    environment = {**ENVIRONMENT, **SHARDED.get(options.get("sharded", ""), {"ACCELERATE_USE_CPU": "true"})}
    return subprocess.run(command(*arguments, **options), env=environment, capture_output=True, text=True, check=False)


def train(*arguments, **options) -> str:
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr[-9000:]
    return done.stderr


def processes_of(output: Path) -> int:
    return checkpoints.processes_of(checkpoints.newest(output))


def losses(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    timed = ("tokens per second", "minutes")
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model/model.safetensors")
