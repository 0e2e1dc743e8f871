"""A run that got `kill -9` while it wrote a checkpoint goes on from the one before, bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from atoken.training.mllm.checkpoints import last_whole_checkpoint

from .killed_run import weights_of_run, write_data

ROOT = Path(__file__).parents[3]


def test_kill_and_resume(tmp_path):
    write_data(tmp_path)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "tests.training.mllm.killed_run", str(tmp_path), str(killed), "4"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-5000:]
    assert (killed / "checkpoint-4/model.safetensors").is_file() and not (killed / "checkpoint-4/optimizer.pt").exists()
    assert last_whole_checkpoint(killed) == str(killed / "checkpoint-2")
    resumed, expected = weights_of_run(tmp_path, killed), weights_of_run(tmp_path, whole)
    assert resumed.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(resumed[name], tensor), name
    assert last_whole_checkpoint(killed) == str(killed / "checkpoint-6")


def test_which_checkpoint_is_the_last_whole_one(tmp_path):
    assert last_whole_checkpoint(tmp_path / "none") is None and last_whole_checkpoint(tmp_path) is None
    for step, state in ((2, "{}"), (10, "{}"), (12, '{"global_step": 1'), (14, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
