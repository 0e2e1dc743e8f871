"""ADM's measures against formulas written out with numpy and scipy, in an Inception network of random weights."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from atoken.evaluation.metrics.adm import (
    AdmFeatures,
    AdmNetwork,
    adm_features,
    adm_metrics,
    inception_score_in_order,
    read_reference,
    read_samples,
)
from atoken.evaluation.metrics.distributions import Gaussian


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    monkeypatch = pytest.MonkeyPatch()
    torch.manual_seed(0)
    # The class reads its weights when it is made; here it is given its own.
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    torch.save({"weight": torch.zeros(1)}, path)
    made = AdmNetwork(path)
    monkeypatch.undo()
    return made


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def gaussian(values: np.ndarray) -> Gaussian:
    covariance = torch.from_numpy(np.cov(values, rowvar=False))
    return Gaussian(torch.from_numpy(values.mean(0)), covariance, len(values))


@torch.inference_mode()
def test_spatial_features_are_those_of_the_layer(network):
    images = torch.from_numpy(pictures(2, 0)).permute(0, 3, 1, 2)
    features, spatial, logits = network(images)
    assert features.shape == (2, 2048) and spatial.shape == (2, 2023) and logits.shape == (2, 1008)
    seen = {}
    layer = network.network.Mixed_6d
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.update(into=inputs[0]))
    network(images)
    hook.remove()
    branch = layer.branch1x1
    expected = F.relu(branch.bn(F.conv2d(seen["into"], branch.conv.weight)))
    assert expected.shape[2:] == (17, 17)
    by_place = expected.permute(0, 2, 3, 1)[..., :7].reshape(2, -1)
    assert torch.allclose(spatial, by_place, atol=1e-6)


def test_measures_by_formulas_of_numpy():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(40, 6)), generator.normal(size=(30, 6)) + 0.5
    places = generator.normal(size=(40, 5)), generator.normal(size=(30, 5)) * 2
    logits = generator.normal(size=(40, 4))
    samples = AdmFeatures(gaussian(first), gaussian(places[0]), torch.from_numpy(first), torch.from_numpy(logits))
    reference = AdmFeatures(gaussian(second), gaussian(places[1]), torch.from_numpy(second))
    found = adm_metrics(samples, reference)
    for name, (one, other) in {"fid": (first, second), "sfid": places}.items():
        covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
        root = sqrtm(covariances[0] @ covariances[1]).real
        expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
        assert found[name] == pytest.approx(expected, rel=1e-8)

    def balls(centers: np.ndarray, points: np.ndarray) -> float:
        own = np.sort(np.linalg.norm(centers[:, None] - centers[None], axis=-1), axis=1)[:, 3]
        return float((np.linalg.norm(points[:, None] - centers[None], axis=-1) <= own).any(1).mean())

    assert found["precision"] == pytest.approx(balls(second, first))
    assert found["recall"] == pytest.approx(balls(first, second))


def test_inception_score_is_of_splits_in_order():
    logits = np.random.default_rng(1).normal(size=(25, 5)) * 2
    scores = []
    for start in range(0, 25, 10):
        part = np.exp(logits[start : start + 10])
        part /= part.sum(1, keepdims=True)
        scores.append(np.exp((part * (np.log(part) - np.log(part.mean(0)))).sum(1).mean()))
    assert inception_score_in_order(torch.from_numpy(logits), split=10) == pytest.approx(np.mean(scores), rel=1e-12)


def test_files_of_samples_and_references(network, tmp_path):
    images = pictures(6, 2)
    np.savez(tmp_path / "samples.npz", images)
    read = torch.cat(list(read_samples(tmp_path / "samples.npz")))
    assert np.array_equal(read.permute(0, 2, 3, 1).numpy(), images)
    own = adm_features(network, read_samples(tmp_path / "samples.npz"))
    reference = read_reference(tmp_path / "samples.npz", network)
    assert torch.equal(reference.pooled.mean, own.pooled.mean) and reference.logits is None
    named = {"mu": np.ones(2048), "sigma": np.eye(2048), "mu_s": np.ones(2023), "sigma_s": np.eye(2023)}
    np.savez(tmp_path / "reference.npz", arr_0=images, **named)
    reference = read_reference(tmp_path / "reference.npz", network)
    assert torch.equal(reference.pooled.covariance, torch.eye(2048, dtype=torch.float64))
    assert torch.equal(reference.features, own.features)


def test_bad_files(network, tmp_path):
    with pytest.raises(FileNotFoundError, match="path: there is no file"):
        read_samples(tmp_path / "none.npz")
    np.savez(tmp_path / "floats.npz", arr_0=np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"path must have images arr_0 \(N, H, W, 3\) uint8, got .* float64"):
        read_samples(tmp_path / "floats.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(ValueError, match="path must be an .npz file of arrays"):
        read_samples(tmp_path / "text.npz")
    np.savez(tmp_path / "half.npz", arr_0=pictures(2, 0), mu=np.ones(2048))
    with pytest.raises(ValueError, match="reference must have mu, sigma, mu_s, sigma_s or none of them"):
        read_reference(tmp_path / "half.npz", network)
