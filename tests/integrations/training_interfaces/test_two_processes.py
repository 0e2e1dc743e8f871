"""Training in two processes on CPUs: sharded by FSDP2, copied by DDP, and from a stream of data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atoken import AtokenModel

from ...modeling.helpers import assert_close, make_model
from .in_two_processes import IDS, gradients, images

PROGRAM = Path(__file__).with_name("in_two_processes.py")
UNUSED = ("text_model.", "vision_model.head.", "logit_")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_model(text=True).save_pretrained(folder)
    return folder


def run(what: str, folder: Path) -> dict:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    launcher += ["--rdzv_endpoint", "localhost:0"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *launcher, str(PROGRAM), what, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return torch.load(folder / f"{what}.pt", weights_only=True)


def test_fsdp2_has_the_loss_and_the_gradients_of_one_process(folder):
    sharded = run("fsdp2", folder)
    model = AtokenModel.from_pretrained(folder)
    loss = model(images(2), input_ids=IDS, return_loss=True).loss
    loss.backward()
    expected = gradients(model)
    assert_close(sharded["loss"], loss.detach(), 1e-5)
    assert sharded["gradients"].keys() == expected.keys()
    assert {"logit_scale", "logit_bias"} <= expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(sharded["gradients"][name], gradient, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("what", ["ddp_unused", "ddp_frozen"])
def test_ddp_leaves_parts_alone_that_have_no_part(folder, what):
    """The two ways that docs/training.md names; not even weight decay moves what the loss does not use."""
    before = AtokenModel.from_pretrained(folder).state_dict()
    for name, state in run(what, folder).items():
        moved = {key for key, tensor in state.items() if not torch.equal(tensor, before[key])}
        assert any(key.startswith("decoder.blocks") for key in moved), name
        assert any(key.startswith("vision_model.blocks") for key in moved), name
        assert not any(key.startswith(UNUSED) for key in moved), name


def test_trainer_takes_a_stream(folder):
    losses = run("stream", folder)
    assert losses["loss"] > 0 and losses["eval_loss"] > 0
