"""Distances of distributions against closed forms, scipy's matrix square root, numpy and torch-fidelity."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_statistics_to_metric

from atoken.evaluation.metrics.distributions import (
    FeatureStatistics,
    Gaussian,
    frechet_distance,
    inception_score,
    precision_recall,
)


def _statistics(features: torch.Tensor, size: int = 7) -> Gaussian:
    statistics = FeatureStatistics(features.shape[1])
    for part in features.split(size):
        statistics.update(part)
    return statistics.compute()


def _features(count: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mixing + 3 + seed


def test_statistics_are_numpys_whatever_the_batches_and_order():
    features = _features(200, 12, 0)
    for found in (_statistics(features), _statistics(features[torch.randperm(200)], 33)):
        np.testing.assert_allclose(found.mean, features.numpy().mean(0), atol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(features.numpy().T), atol=1e-10)


def test_statistics_of_processes_add_up():
    features = _features(50, 6, 0)
    parts = [FeatureStatistics(6) for _ in range(3)]
    for rank, part in enumerate(parts):
        part.update(features[rank::3])
    for part in parts[1:]:
        parts[0].merge_state(part)
    np.testing.assert_allclose(parts[0].compute().covariance, np.cov(features.numpy().T), atol=1e-10)


def test_distance_of_diagonal_gaussians_in_closed_form():
    first = Gaussian(torch.tensor([0.0, 1, 2]).double(), torch.diag(torch.tensor([1.0, 4, 9]).double()), 10)
    second = Gaussian(torch.tensor([1.0, 1, 4]).double(), torch.diag(torch.tensor([4.0, 1, 16]).double()), 10)
    distance = frechet_distance(first, second)
    # |d mu|^2 = 1 + 4, sum of (s1 - s2)^2 = 1 + 1 + 1
    assert distance.mean == pytest.approx(5.0, abs=1e-12)
    assert distance.covariance == pytest.approx(3.0, abs=1e-12)
    assert distance.total == pytest.approx(8.0, abs=1e-12)


def test_distance_is_that_of_scipys_root_and_of_torch_fidelity():
    first, second = _statistics(_features(300, 16, 1)), _statistics(_features(280, 16, 2))
    distance = frechet_distance(first, second)
    root = sqrtm(first.covariance.numpy() @ second.covariance.numpy()).real
    expected = float(np.trace(first.covariance + second.covariance - 2 * root))
    assert distance.covariance == pytest.approx(expected, rel=1e-9)
    pair = [{"mu": g.mean.numpy(), "sigma": g.covariance.numpy()} for g in (first, second)]
    (expected,) = fid_statistics_to_metric(*pair, False).values()
    assert distance.total == pytest.approx(expected, rel=1e-9)


def test_distance_to_itself_is_zero_with_fewer_samples_than_features():
    gaussian = _statistics(_features(20, 64, 3))
    scale = float(gaussian.covariance.trace())
    assert abs(frechet_distance(gaussian, gaussian).total) < 1e-10 * scale


def test_distance_of_a_shift_lies_in_the_mean_alone():
    features = _features(20, 64, 3)
    moved = frechet_distance(_statistics(features), _statistics(features + 0.5))
    assert moved.mean == pytest.approx(64 * 0.25, rel=1e-9)
    assert abs(moved.covariance) < 1e-6 * moved.mean


def test_inception_score_by_hand():
    # Four samples, certain of two classes: marginal 1/2 each, so the score is 2; without any certainty it is 1.
    certain = torch.tensor([[60.0, 0], [60, 0], [0, 60], [0, 60]])
    assert inception_score(certain, splits=1)["mean"] == pytest.approx(2.0, abs=1e-9)
    assert inception_score(torch.zeros(4, 2), splits=1)["mean"] == pytest.approx(1.0, abs=1e-12)


def test_precision_and_recall_by_hand():
    # Points on a line; with one neighbor every ball has radius 1. Generated 0 and 1 fall in balls of the real, 50 and
    # 51 do not; of the real 0, 1, 2, 3 all but 3 fall in balls of the generated.
    real = torch.tensor([[0.0], [1], [2], [3]])
    generated = torch.tensor([[0.0], [1], [50], [51]])
    found = precision_recall(generated, real, neighbors=1)
    assert found == pytest.approx({"precision": 0.5, "recall": 0.75})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: FeatureStatistics(4).update(torch.zeros(2, 5)), "features"),
        (lambda: FeatureStatistics(4).update(torch.full((2, 4), torch.nan)), "finite"),
        (lambda: FeatureStatistics(4).compute(), "at least 2"),
        (lambda: inception_score(torch.zeros(3, 4)), "splits"),
        (lambda: precision_recall(torch.zeros(3, 4), torch.zeros(9, 4)), "neighbors"),
    ],
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
