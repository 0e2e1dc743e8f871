"""The plan of a step: even loads on 256 processes, sizes as drawn alone, nothing lost or doubled, the same for all."""

import numpy as np
import pytest

from atoken.training.data.limits import Limits
from atoken.training.data.step_plan import BatchSize, Step, TaskPlan, evenly

TOKENS = 256 * 32768
# Stages 1 to 3: resolutions of pictures and videos (paper, Table 2).
STAGES = {1: ((64, 512), None), 2: ((64, 1024), (64, 512)), 3: ((64, 2048), (64, 1024))}
PICTURES, CLIPS = BatchSize(1024, 4096, TOKENS), BatchSize(512, 1024, TOKENS)


def unknown(first: int, count: int) -> np.ndarray:
    return np.full(count, np.inf)


def plan(task: str, stage: int, size: BatchSize | None = None, sides=unknown) -> TaskPlan:
    images, videos = STAGES[stage]
    limits = Limits(image_resolution=images, video_resolution=videos)
    return TaskPlan(task, limits, size or (PICTURES if task.startswith("image") else CLIPS), 11, sides)


def flops(tokens: float, sequence: float) -> float:
    """Counts a training step of one tower of So400m: 27 blocks, 1,152 wide, 4,304 inside."""
    width, inside, blocks = 1152, 4304, 27
    return 3 * blocks * tokens * (2 * (4 * width**2 + 2 * width * inside) + 4 * width * sequence)


def side_of(task: str, stage: int, share: float) -> float:
    low, high = STAGES[stage][0 if task.startswith("image") else 1]
    return low + share * (high - low)


def load(task: str, stage: int, step: Step, samples: np.ndarray) -> float:
    total = 0.0
    for share in step.shares[samples]:
        cells = (side_of(task, stage, share) / 16) ** 2
        latent = 1 if step.frames is None else step.frames / 4
        # Tiles of 4 latent frames see themselves.
        tiles = [min(4, latent - start) for start in np.arange(0, latent, 4)]
        total += sum(flops(tile * cells, tile * cells) for tile in tiles)
    return total


@pytest.mark.parametrize(
    "task, stage, least",
    [
        ("image_reconstruction", 1, 0.97),
        ("image_reconstruction", 2, 0.97),
        ("image_reconstruction", 3, 0.97),
        ("video_reconstruction", 2, 0.9),
        ("video_reconstruction", 3, 0.9),
    ],
)
def test_256_processes_have_about_equally_much_to_do(task, stage, least):
    planned, first, ratios = plan(task, stage), 0, []
    for _ in range(4):
        step = planned.step(first)
        first += len(step)
        parts = step.split(256, 32768)
        loads = [sum(load(task, stage, step, part) for part in own) for own in parts]
        ratios.append(np.mean(loads) / np.max(loads))
        assert all(step.tokens[part].sum() <= 32768 for own in parts for part in own)
        assert len({len(own) for own in parts}) == 1
    assert np.mean(ratios) >= least


@pytest.mark.parametrize("processes", [1, 2, 3, 8, 255, 256])
@pytest.mark.parametrize("task", ["image_reconstruction", "video_reconstruction", "image_understanding"])
def test_every_sample_is_done_by_one_process(processes, task):
    step = plan(task, 3, BatchSize(8192, 8192) if task.endswith("understanding") else None).step(70000)
    parts = [part for own in step.split(processes, 32768) for part in own]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(step)))
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)


def test_samples_that_cost_the_same_stay_with_their_neighbors():
    step = plan("image_understanding", 1, BatchSize(8192, 8192)).step(0)
    assert [np.concatenate(own).tolist() for own in step.split(256, 32768)] == np.arange(8192).reshape(256, 32).tolist()


@pytest.mark.parametrize("task, stage", [("image_reconstruction", 2), ("image_reconstruction", 3)])
def test_pictures_have_the_sizes_they_would_have_alone(task, stage):
    planned, first, shares = plan(task, stage), 0, []
    for _ in range(30):
        step = planned.step(first)
        first += len(step)
        shares.append(step.shares)
        # As many as fit, within the paper's numbers.
        total = sum((side_of(task, stage, share) / 16) ** 2 for share in step.shares)
        assert 1024 <= len(step) <= 4096 and (len(step) == 4096 or 0.97 < total / TOKENS < 1.01)
    drawn = np.concatenate(shares)
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] / len(drawn) - 0.1).max() < 0.02 * 0.5


@pytest.mark.parametrize("stage", [2, 3])
def test_clips_have_the_sizes_they_would_have_alone(stage):
    """Steps of large clips have fewer of them, and come more often for it."""
    planned, found = plan("video_reconstruction", stage), []
    counts = set()
    for index in range(6000):
        step = planned.step(1000 * index)
        assert len(set(step.shares.tolist())) == 1 and len(step) % 256 == 0
        counts.add(len(step))
        found.append((step.shares[0], step.frames, len(step)))
    shares, frames, weights = map(np.array, zip(*found, strict=True))
    assert counts <= {512, 768, 1024} and (stage == 2 or len(counts) == 3)
    by_size = np.histogram(shares, 10, (0, 1), weights=weights)[0] / weights.sum()
    assert np.abs(by_size - 0.1).max() < 0.02
    by_length = [weights[frames == each].sum() / weights.sum() for each in (16, 20, 24, 28, 32)]
    assert np.abs(np.array(by_length) - 0.2).max() < 0.02


def test_media_are_planned_by_their_own_size():
    small = plan("image_reconstruction", 3, PICTURES, lambda first, count: np.full(count, 400.0)).step(0)
    assert len(small) == 4096 and small.tokens.max() <= 25**2 + 1 and small.tokens.min() >= 16
    # Even then they are not enlarged where they are smaller than the smallest size.
    tiny = plan("image_reconstruction", 3, PICTURES, lambda first, count: np.full(count, 32.0)).step(0)
    assert set(tiny.tokens.tolist()) == {4}


def test_any_number_of_processes_goes_on_with_the_same_samples():
    for task in ("image_reconstruction", "video_reconstruction"):
        planned, numbers, first = plan(task, 3), [], 0
        for processes in (2, 2, 1, 3, 3):
            step = planned.step(first)
            parts = [step.first + part for own in step.split(processes, 32768) for part in own]
            numbers += np.sort(np.concatenate(parts)).tolist()
            first += len(step)
        assert numbers == list(range(first))


def test_sharing_out_is_near_the_optimum():
    rng = np.random.default_rng(0)
    costs = rng.random(400)
    bins = evenly(np.arange(400), costs, 7)
    sums = [costs[each].sum() for each in bins]
    assert max(sums) - min(sums) <= costs.min() + 1e-9 or max(sums) <= (4 / 3) * costs.sum() / 7
    assert sorted(np.concatenate(bins).tolist()) == list(range(400))


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="processes must be at most the 3 samples of a step, got 4"):
        plan("image_reconstruction", 1, BatchSize(3, 3)).step(0).split(4, 100)
    with pytest.raises(ValueError, match=r"batch_sizes must be numbers from 1 on, the smaller one first, got \(5, 3\)"):
        BatchSize(5, 3)
    with pytest.raises(ValueError, match="step_tokens must be at least 1, got 0"):
        BatchSize(1, 3, 0)
