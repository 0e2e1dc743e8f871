"""Shards of weights, gradients and optimizers: FSDP2 and DeepSpeed's ZeRO, in two processes with gloo."""

import shutil

import pytest
import torch

from ..stage_samples import make_start, write_data, write_stage
from .trainer_runs import losses, train, weights


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    # Every step has a gradient for every parameter: where there is none, ZeRO moves on by momentum, whereas whole
    # copies and FSDP2 leave a parameter alone.
    return {
        "stage": write_stage(folder / "stage.yaml", ratios={"image_reconstruction": 1}),
        "data": write_data(folder),
        "start": make_start(folder / "start"),
    }


@pytest.fixture(scope="module")
def copies(files, tmp_path_factory):
    """Runs in two processes that hold whole copies."""
    output = tmp_path_factory.mktemp("copies")
    train(files, output, "--steps", "10", processes=2)
    return output


@pytest.mark.parametrize(
    "sharded",
    [
        "fsdp2",
        "zero2",
        pytest.param("zero3", marks=pytest.mark.xfail(reason="ends within 1e-2, not 1e-5 (docs/curriculum.md)")),
    ],
)
def test_shards_train_resume_and_equal_whole_copies(files, copies, sharded, tmp_path):
    if sharded.startswith("zero"):
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    train(files, tmp_path / "whole", "--steps", "10", "--save-every", "5", processes=2, sharded=sharded)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed/checkpoint-00000010")
    shutil.rmtree(tmp_path / "resumed/model")
    train(files, tmp_path / "resumed", "--steps", "10", "--save-every", "5", processes=2, sharded=sharded)
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")
    expected, whole, resumed = (weights(path) for path in (copies, tmp_path / "whole", tmp_path / "resumed"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    for name, value in whole.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5, msg=name)
