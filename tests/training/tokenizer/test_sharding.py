"""Shards of weights, gradients and optimizers: FSDP2 and DeepSpeed's ZeRO, in two processes with gloo."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from atoken.training.data.embed_captions import main as embed_captions

from ..data.picture_sources import write_pictures
from ..stage_samples import make_start, write_data, write_stage
from . import trainer_runs
from .trainer_runs import losses, train, weights

LAUNCH = Path(__file__).parents[3] / "training/launch"


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


def train_both_ways(given, output, *options) -> None:
    """Trains two processes with whole copies and with shards, which end alike."""
    for sharded in ("", "fsdp2"):
        train(given, output / f"run-{sharded}", "--steps", "5", *options, processes=2, sharded=sharded)
    expected, found = (weights(output / f"run-{sharded}") for sharded in ("", "fsdp2"))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)


def test_one_process_may_have_captions_that_are_not_in_the_cache(files, tmp_path):
    pictures, known = tmp_path / "pictures", tmp_path / "known"
    for folder in (pictures, known):
        folder.mkdir()
        write_pictures("folder", folder)
        path = folder.with_suffix(".yaml")
        path.write_text(yaml.safe_dump({"image_understanding": [{"source": "folder", "path": str(folder)}]}))
    for path in sorted(known.iterdir())[12:]:
        path.unlink()
    embed_captions(tmp_path / "cache", tmp_path / "known.yaml", str(files["start"]))
    stage = write_stage(tmp_path / "stage.yaml", ratios={})
    given = {**files, "stage": stage, "data": tmp_path / "pictures.yaml"}
    train_both_ways(given, tmp_path, "--text-cache", str(tmp_path / "cache"))


def test_one_process_may_have_shorter_clips(files, tmp_path):
    clips = [{"source": "miniature", "length": 40, "pixels": 32, "frames": frames, "size": 1} for frames in (8, 32)]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"video_reconstruction": clips}))
    changes = {"tile_frames": "sample", "cached_share": 1.0, "trained": ["decoder"]}
    stage = write_stage(tmp_path / "stage.yaml", ratios={"video_reconstruction": 1}, frames=[32], **changes)
    train_both_ways({**files, "stage": stage, "data": tmp_path / "data.yaml"}, tmp_path)


@pytest.fixture(scope="module")
def in_bf16(files, tmp_path_factory):
    """Trains in bf16 in one process, two with whole copies, two with shards, and four with shards in pairs."""
    folder = tmp_path_factory.mktemp("bf16")
    # Batches of samples, not of tokens, so that they are the same in any number of processes; all kinds of tasks.
    ratios = {"image_reconstruction": 1, "video_understanding": 1}
    sizes = {"image_understanding": 4, "image_reconstruction": 4, "video_understanding": 4}
    options = {"max_tokens": 4096, "ratios": ratios, "batch_sizes": sizes}
    of_bf16 = {**files, "stage": write_stage(folder / "stage.yaml", **options)}
    patch = pytest.MonkeyPatch()
    patch.setitem(trainer_runs.ENVIRONMENT, "ACCELERATE_MIXED_PRECISION", "bf16")
    arguments = ["--steps", "4", "--teacher", str(make_start(folder / "teacher", seed=1))]
    runs = {"one": (1, ""), "copies": (2, ""), "fsdp2": (2, "fsdp2"), "hsdp": (4, "hsdp")}
    for name, (processes, sharded) in runs.items():
        train(of_bf16, folder / name, *arguments, processes=processes, sharded=sharded)
    patch.undo()
    return folder


@pytest.mark.parametrize("name", ["copies", "fsdp2", "hsdp"])
def test_in_bf16_any_number_of_shards_is_one_process_but_for_rounding(in_bf16, files, name):
    expected, found = losses(in_bf16 / "one"), losses(in_bf16 / name)
    for one, other in zip(expected, found, strict=True):
        names = [each for each in one if each.endswith(("/loss", "/l1", "/semantic", "gradient norm"))]
        # bfloat16 has 8 bits: rounding errors of 0.4 %. What is distilled is a small difference of numbers of about 1.
        assert [other[each] for each in names] == pytest.approx([one[each] for each in names], rel=3e-2, abs=2e-3)
    weights_of = weights(in_bf16 / name)
    assert {value.dtype for value in weights_of.values()} == {torch.float32}


def test_launcher_files_leave_the_blocks_to_the_objective():
    for name in ("fsdp2", "hsdp"):
        values = yaml.safe_load((LAUNCH / f"{name}.yaml").read_text())
        assert values["mixed_precision"] == "bf16" and values["fsdp_config"]["fsdp_version"] == 2
        # A class that a stage's model has none of would be an error.
        assert "fsdp_transformer_layer_cls_to_wrap" not in values["fsdp_config"]
    sizes = values["parallelism_config"]
    both = sizes["parallelism_config_dp_replicate_size"], sizes["parallelism_config_dp_shard_size"]
    assert both[0] * both[1] == values["num_processes"]
