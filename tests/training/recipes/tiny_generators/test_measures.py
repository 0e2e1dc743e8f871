"""Measures of samples, against counts by hand, float64, and another formula of the distance."""

import numpy as np
import pytest
import torch

from atoken.evaluation.metrics.scene_judge import WIDTH, SceneJudge, load_judge
from atoken.training.recipes.tiny_generators.judge import train_judge
from atoken.training.recipes.tiny_generators.measures import CHANCE, gaussian_of, judged_measures, nearest, shares
from atoken.training.recipes.tiny_generators.measuring import choose
from atoken.training.recipes.tiny_generators.scenes import draw_scenes


def test_shares_are_counted_over_samples():
    # Classes 0 to 9: colors 0 x 8, 1 x 2; shapes 0 to 7, 0, 1.
    color = torch.tensor([0, 0, 0, 0, 0, 0, 0, 5, 1, 1])
    shape = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0, 0])
    assert shares(color, shape) == {"color": 0.9, "shape": 0.9, "pair": 0.8}
    assert CHANCE == {"color": 1 / 8, "shape": 1 / 8, "pair": 1 / 64}


def test_the_distance_is_that_of_two_gaussians():
    from scipy.linalg import sqrtm

    torch.manual_seed(0)
    judge = SceneJudge().eval()
    pictures = draw_scenes("judge", 200)
    features = judge.judged(pictures)[0].double().numpy()
    other = np.random.default_rng(0).normal(size=(300, WIDTH)) * 0.1
    means, covariances = zip(*((each.mean(0), np.cov(each.T)) for each in (features, other)), strict=True)
    root = sqrtm(covariances[0] @ covariances[1])
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    found = judged_measures(judge, pictures, gaussian_of(torch.from_numpy(other)))
    assert found["fid"] == pytest.approx(expected, rel=1e-3)
    assert judged_measures(judge, pictures, gaussian_of(judge.judged(pictures)[0]))["fid"] == pytest.approx(0, abs=1e-6)


def test_the_nearest_is_found():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    others = rng.integers(0, 256, (300, 3, 64, 64), dtype=np.uint8)
    others[290] = pictures[1] // 2
    distances, index = nearest(pictures, len(others), lambda rows: others[rows.start : rows.stop])
    differences = pictures[:, None].astype(np.float64) - others[None]
    expected = np.sqrt((differences**2).mean((2, 3, 4)))
    assert index.tolist() == expected.argmin(1).tolist() and index[1] == 290
    np.testing.assert_allclose(distances, expected.min(1), rtol=1e-4)


def test_settings_near_the_best_are_told_apart_by_distance():
    candidates = [{"pair": 0.90, "fid": 9.0}, {"pair": 0.89, "fid": 5.0}, {"pair": 0.80, "fid": 1.0}]
    assert choose(candidates) is candidates[1]


def test_a_judge_learns_and_is_read_again(tmp_path):
    losses = list(train_judge(tmp_path / "judge.safetensors", 256, 3))
    assert losses[-1] < losses[0] < 2 * np.log(8) + 1
    judge = load_judge(tmp_path / "judge.safetensors")
    features, color, shape = judge.judged(draw_scenes("ceiling", 70))
    assert features.shape == (70, WIDTH) and color.shape == shape.shape == (70,)
