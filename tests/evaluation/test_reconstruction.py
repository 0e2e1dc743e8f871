"""From samples to a set's numbers: features, logits, codes and exact samples through chunks."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from atoken.evaluation import reconstruction
from atoken.evaluation.chunks import Chunks
from atoken.evaluation.interface import Encoded, EvaluationSet, MediaTokenizer, Sample
from atoken.evaluation.metrics.distributions import FeatureStatistics, frechet_distance, precision_recall
from atoken.evaluation.models.image_codecs import ImageCodec
from atoken.evaluation.reconstruction import Measures, measure_chunk, summarize


class _Inception(torch.nn.Module):
    """Stands for the network: means of quarters as features, of colors as logits."""

    def __init__(self, weights):
        super().__init__()

    def forward(self, images):
        quarters = torch.nn.functional.adaptive_avg_pool2d(images.double(), 2)
        return quarters.flatten(1).float(), quarters.mean((2, 3)).float() / 100


class _Network(torch.nn.Module):
    """Stands for EfficientNet-lite0 and ST-LPIPS: means of halves as features, mean differences as distances."""

    def __init__(self, trunk="", weights=None):
        super().__init__()
        self.factor = {"vgg": 1, "alex": 2}.get(trunk)

    def pooled(self, images):
        return images.float().reshape(len(images), 6, -1).mean(2)

    def forward(self, reconstruction, original):
        return self.factor * (reconstruction.float() - original.float()).abs().mean((1, 2, 3))


class _Copy(MediaTokenizer):
    """Gives back what it was given, and one code for each corner."""

    kinds, name, codebook_sizes = frozenset({"image"}), "copy", (4,)

    def encode(self, media):
        return Encoded(media, media.numel() * 8, tuple(media.shape), torch.tensor([[0], [1], [1], [0]]))

    def decode(self, encoded):
        return encoded.payload


@pytest.fixture
def samples() -> EvaluationSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 3, 24, 24), generator=generator, dtype=torch.uint8)
    listed = [Sample(str(index), lambda image=image: image) for index, image in enumerate(images)]
    return EvaluationSet("noise", "image", listed, {"count": 12}, "0" * 64)


def _run(tokenizer, samples, folder, size, names):
    measures = Measures(names, {})
    chunks = Chunks(folder, {"size": size}, 12, size)
    for chunk in chunks.missing():
        chunks.write(chunk, *measure_chunk(tokenizer, samples, chunks.indices(chunk), measures))
    return summarize(chunks, tokenizer.codebook_sizes, names)


def test_distributions_are_those_of_all_features(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "InceptionFeatures", _Inception)
    names = ("psnr", "rfid", "inception-score", "precision-recall")
    codec = ImageCodec("jpeg", 2.0)
    found = _run(codec, samples, tmp_path / "5", 5, names)
    originals = torch.cat([sample.load() for sample in samples.samples])
    results = torch.cat([codec.decode(codec.encode(image[None])) for image in originals])
    (real, _), (generated, logits) = _Inception(None)(originals), _Inception(None)(results)
    statistics = [FeatureStatistics(12), FeatureStatistics(12)]
    for one, features in zip(statistics, (real, generated), strict=True):
        one.update(features)
    expected = frechet_distance(*(one.compute() for one in statistics))
    assert found["frechet"]["mean"] == pytest.approx(expected.mean, abs=1e-9)
    assert found["frechet"]["covariance"] == pytest.approx(expected.covariance, abs=1e-6)
    assert found["precision_recall"] == pytest.approx(precision_recall(generated, real))
    shares = logits.double().softmax(1)
    assert found["inception_score"]["mean"] >= 1 and shares.shape == (12, 3)
    again = _run(codec, samples, tmp_path / "12", 12, names)
    assert again["frechet"] == pytest.approx(found["frechet"], abs=1e-6)


def test_perceptual_distances_are_means_and_lite0_has_a_distance_of_its_own(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "InceptionFeatures", _Inception)
    monkeypatch.setattr(reconstruction, "StLpips", _Network)
    monkeypatch.setattr(reconstruction, "load_efficientnet_lite0", _Network)
    codec = ImageCodec("jpeg", 2.0)
    both = ("st-lpips-vgg", "st-lpips-alex", "fd-lite0", "rfid", "precision-recall")
    found = _run(codec, samples, tmp_path / "5", 5, both)
    originals = torch.cat([sample.load() for sample in samples.samples])
    results = torch.cat([codec.decode(codec.encode(image[None])) for image in originals])
    error = (results.double() - originals.double()).abs().mean()
    assert found["st_lpips_vgg"] == pytest.approx(float(error), rel=1e-5)
    assert found["st_lpips_alex"] == pytest.approx(2 * float(error), rel=1e-5)
    features = [_Network().pooled(images).double().numpy() for images in (originals, results)]
    means = [one.mean(0) for one in features]
    covariances = [np.cov(one, rowvar=False) for one in features]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    assert found["fd_lite0"]["mean"] == pytest.approx(((means[0] - means[1]) ** 2).sum(), rel=1e-6)
    expected = np.trace(covariances[0] + covariances[1] - 2 * root)
    assert found["fd_lite0"]["covariance"] == pytest.approx(expected, rel=1e-4)
    # The others are what they are without it.
    alone = _run(codec, samples, tmp_path / "alone", 5, ("rfid", "precision-recall"))
    assert "fd_lite0" not in alone and found["frechet"] == alone["frechet"] != found["fd_lite0"]
    assert found["precision_recall"] == alone["precision_recall"]
    only = _run(codec, samples, tmp_path / "only", 5, ("fd-lite0",))
    assert only["fd_lite0"] == found["fd_lite0"] and "frechet" not in only


def test_exact_samples_and_codes(samples, tmp_path):
    found = _run(_Copy(), samples, tmp_path, 5, ("psnr", "ssim"))
    assert found["exact"] == found["count"] == 12 and "psnr" not in found
    assert found["ssim"] == pytest.approx(1.0) and found["bits_per_pixel"] == 24.0
    assert found["codebook"] == {"usage": 0.5, "perplexity": pytest.approx(2.0)}


def test_a_tokenizer_without_a_decoder_is_measured_by_its_codes(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(_Copy, "decodes", False)
    monkeypatch.setattr(_Copy, "decode", lambda self, encoded: pytest.fail("was decoded"))
    found = _run(_Copy(), samples, tmp_path, 5, ("psnr",))
    assert found["codebook"]["usage"] == 0.5 and found["bits_per_pixel"] == 24.0 and "psnr" not in found


def test_infinity_does_not_get_into_json(samples, tmp_path):
    records, _ = measure_chunk(_Copy(), samples, range(2), Measures(("psnr",), {}))
    assert all(record["psnr"] is None for record in records) and not math.isnan(records[0]["bits"])
