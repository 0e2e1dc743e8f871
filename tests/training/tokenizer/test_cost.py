"""The cost of a schedule, against operations counted by hand."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atoken import AtokenConfig, AtokenModel
from atoken.evaluation.metrics.st_lpips import StLpipsNetwork
from atoken.training.throughput import PEAKS
from atoken.training.tokenizer import curriculum
from atoken.training.tokenizer.cost import Loading, at_upper_ends, per_step
from atoken.training.tokenizer.curriculum import Stage

from ..stage_samples import STAGE

STAGES = Path(curriculum.__file__).parent / "stages"
PAGE = Path(__file__).parents[3] / "docs" / "curriculum.md"


@pytest.fixture(scope="module")
def so400m():
    with torch.device("meta"):
        return AtokenModel(AtokenConfig.from_preset("so400m"))


def stage_of(**changes) -> Stage:
    values = {name: value for name, value in STAGE.items() if name != "optimizer"}
    return Stage(**{**values, **changes})


def test_tokens_and_operations_are_those_of_the_schedule(so400m):
    stage = stage_of(
        ratios={"image_reconstruction": 1, "video_reconstruction": 1},
        image_resolution=(64, 64),
        video_resolution=(32, 32),
        frames=(32,),
        batch_sizes={"image_understanding": 4, "image_reconstruction": 6, "video_reconstruction": 2},
    )
    # Each of two processes: 2 pictures of 4 tokens; 3 of 16, or 1 clip of 8 x 4 in tiles of 4 x 4, in turns.
    found = per_step(stage, so400m, processes=2, loading=Loading(1, 0, 100, 0, 0))
    assert found.tokens == pytest.approx(2 * 4 + 0.5 * 48 + 0.5 * 32)
    width, inside, blocks = 1152, 4304, 27
    weights = blocks * (4 * width**2 + 2 * width * inside)

    def tower(tokens: int, sequence: int) -> float:
        return 3 * 2 * weights * tokens + 3 * 4 * blocks * width * tokens * sequence

    expected = tower(8, 4) * 4 / 3 + 0.5 * 2 * tower(48, 16) + 0.5 * 2 * tower(32, 16)
    assert found.model == pytest.approx(expected, rel=2e-3)  # biases and norms are not counted by hand
    assert found.recomputed == pytest.approx((expected - tower(8, 4) / 3) / 3, rel=2e-3)
    # Two texts of 64 tokens in every step; no perceptual network has a weight.
    assert found.networks == pytest.approx(2 * tower(64, 64) / 3, rel=2e-3)
    assert found.loading == pytest.approx(2 + 0.5 * 3 + 0.5 * 100)
    assert found.balance == pytest.approx(1)


@pytest.mark.parametrize(
    "tiles, pairs",
    [
        ({}, 2 * 16**2),
        ({"tile_frames": 8}, 4 * 8**2),
        ({"tile_frames": "sample"}, 32**2),
        # In every second step the second window of 16 tokens attends to the first, too.
        ({"tile_frames": "sample", "cached_share": 0.5}, (32**2 + 16**2 + 16 * 32) / 2),
    ],
)
def test_attention_is_that_of_the_tiles_of_the_stage(so400m, tiles, pairs):
    clips = {"ratios": {"video_reconstruction": 1}, "video_resolution": (32, 32), "frames": (32,)}
    clips["batch_sizes"] = {"image_understanding": 1, "video_reconstruction": 2}
    least, found = (per_step(stage_of(**clips, **each), so400m, 1).model for each in ({"tile_frames": 4}, tiles))
    # Two towers see 2 clips of 8 x 4 tokens; what is not attention costs the same.
    more = 2 * 2 * 12 * 27 * 1152 * (pairs - 8 * 4**2)
    assert found - least == pytest.approx(more, rel=1e-6)


def test_perceptual_networks_are_those_of_every_picture(so400m):
    sizes = {"image_understanding": 1, "image_reconstruction": 6}
    stage = stage_of(
        ratios={"image_reconstruction": 1}, batch_sizes=sizes, losses={"image": {"l1": 1, "lpips": 10, "clip": 1}}
    )
    plain = stage_of(ratios={"image_reconstruction": 1}, batch_sizes=sizes, losses={"image": {"l1": 1}})
    added = per_step(stage, so400m, 1).networks - per_step(plain, so400m, 1).networks
    assert added / 6 == pytest.approx(197e9, rel=0.01)  # shared/design/scale.md, section 5


def test_alexnet_sees_a_crop_of_one_picture_in_four(so400m):
    sizes = {"image_understanding": 1, "image_reconstruction": 8}
    weights = {"l1": 1, "st_lpips_alex": 1, "gram": 1}
    with_trunk, plain = (
        stage_of(ratios={"image_reconstruction": 1}, batch_sizes=sizes, losses={"image": each})
        for each in (weights, {"l1": 1})
    )
    crop = torch.zeros(1, 3, 128, 128)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        StLpipsNetwork("alex").taps(crop)
    added = per_step(with_trunk, so400m, 1).networks - per_step(plain, so400m, 1).networks
    # Of 2 crops: the target's pass, the reconstruction's, and back.
    assert added == pytest.approx(2 * 3 * counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("number, least", [(1, 0.97), (2, 0.93), (3, 0.93)])
def test_processes_of_the_stage_files_wait_little_and_cost_what_the_page_says(so400m, number, least):
    stage = Stage.read(STAGES / f"so400m-{number}.yaml")
    cost = per_step(stage, so400m, 256)
    assert cost.balance >= least
    (row,) = re.findall(r"\| model and teacher \|(.*)\|", PAGE.read_text(encoding="utf-8"))
    hours = cost.model / (0.4 * PEAKS["H100"]) * stage.steps * 256 / 3600
    assert row.split("|")[number - 1].strip() == f"{hours:,.0f}"


def test_the_upper_ends_of_the_paper_cost_more(so400m):
    stage = Stage.read(STAGES / "so400m-2.yaml")
    costs = [
        per_step(each, so400m, 256).model for each in (stage, at_upper_ends(stage, False), at_upper_ends(stage, True))
    ]
    assert costs[0] <= costs[1] < costs[2]
    assert at_upper_ends(stage, True).image_resolution == (1024, 1024)
