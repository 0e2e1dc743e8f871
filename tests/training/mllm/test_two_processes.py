"""Sharded training of which one process has no media: it finishes, with the gradients of both batches."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from .in_two_processes import batch_of, training_model

PROGRAM = "tests.training.mllm.in_two_processes"
ROOT = Path(__file__).parents[3]


def test_fsdp2_where_one_process_has_no_media(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    launcher += ["--rdzv_endpoint", "localhost:0", "-m"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *launcher, PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]
    sharded = torch.load(tmp_path / "sharded.pt", weights_only=True)["gradients"]

    expected: dict[str, torch.Tensor] = {}
    for rank in (0, 1):
        model, processor = training_model()
        model(**batch_of(rank, processor), use_cache=False).loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                expected[name] = expected.get(name, torch.zeros_like(parameter)) + parameter.grad / 2
    assert sharded.keys() == expected.keys() and not any("vision_tower" in name for name in expected)
    assert expected["model.multi_modal_projector.linear_1.weight"].abs().sum() > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(sharded[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
