"""The modules of `evaluate` against the metrics they wrap, in batches."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

pytest.importorskip("evaluate", reason="evaluate is not installed")

from atoken.evaluation.metrics.evaluate_modules import MODULES, load_module  # noqa: E402


def _pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 2, 3, 16, 16), dtype=np.uint8)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_pictures_come_in_batches(name, tmp_path):
    results, originals = _pictures(0), _pictures(1)
    module = load_module(name, size=16, cache_dir=str(tmp_path))
    for part in (slice(0, 3), slice(3, 4)):
        module.add_batch(predictions=results[part], references=originals[part])
    found = module.compute()
    if name == "psnr":
        pairs = zip(originals, results, strict=True)
        expected = np.mean([peak_signal_noise_ratio(*pair, data_range=255) for pair in pairs])
        assert found == {"psnr": pytest.approx(expected, abs=1e-9), "exact": 0}
    else:
        assert -1 < found["ssim"] < 0.2


def test_frechet_distance_of_a_shift(tmp_path):
    features = np.random.default_rng(0).normal(size=(50, 4))
    found = load_module("frechet", cache_dir=str(tmp_path)).compute(predictions=features + 2, references=features)
    assert found["mean"] == pytest.approx(16.0) and found["covariance"] == pytest.approx(0.0, abs=1e-9)


def test_zero_shot_and_codebook_use(tmp_path):
    scores = torch.eye(4)[[0, 1, 2, 2]].numpy()
    found = load_module("zero_shot", cache_dir=str(tmp_path)).compute(predictions=scores, references=[0, 1, 2, 3])
    assert found == {"top1": pytest.approx(0.75), "top5": 1.0}
    module = load_module("codebook_use", size=4, cache_dir=str(tmp_path))
    assert module.compute(predictions=[[0, 1], [1, 0]]) == {"usage": 0.5, "perplexity": pytest.approx(2.0)}


def test_an_unknown_name_lists_the_others():
    with pytest.raises(ValueError, match="codebook_use"):
        load_module("rouge")
    assert all(module.__doc__ for module in MODULES.values())
