"""Measures of reconstructions against skimage, numpy and formulas written out by hand."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr
from torchmetrics.functional.image import structural_similarity_index_measure

from atoken.evaluation.metrics.reconstruction import BitsPerPixel, CodebookUse, Psnr, Ssim, bits_per_pixel
from atoken.tokenizing.quality import psnr, ssim


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    original = torch.randint(0, 256, (5, 3, 40, 52), generator=generator, dtype=torch.uint8)
    noise = torch.randint(-30, 31, original.shape, generator=generator)
    return (original + noise).clamp(0, 255).to(torch.uint8), original


def test_psnr_of_a_video_is_that_of_one_mean_squared_error(pair):
    result, original = pair
    expected = peak_signal_noise_ratio(original.numpy(), result.numpy(), data_range=255)
    assert psnr(*pair) == pytest.approx(expected, abs=1e-9)
    other = torchmetrics_psnr(result.double(), original.double(), data_range=255.0)
    assert psnr(*pair) == pytest.approx(float(other), abs=1e-4)


def test_psnr_of_differences_that_overflow_8_bits():
    black, white = torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert psnr(white, black) == psnr(black, white) == 0.0
    # 200 - 10 wraps to -66 in signed and 10 - 200 to 66 in unsigned 8 bits.
    low, high = torch.full_like(black, 10), torch.full_like(black, 200)
    assert psnr(low, high) == psnr(high, low) == pytest.approx(10 * math.log10(255**2 / 190**2), abs=1e-12)
    assert psnr(black, black) == math.inf


def _ssim_by_definition(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes equation 13 of Wang et al. (2004) at every pixel of two pictures (H, W)."""
    blur = partial(gaussian_filter, sigma=1.5, truncate=3.5, mode="mirror")
    first, second = first.astype(np.float64), second.astype(np.float64)
    mean1, mean2 = blur(first), blur(second)
    var1, var2 = blur(first**2) - mean1**2, blur(second**2) - mean2**2
    both = blur(first * second) - mean1 * mean2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mean1 * mean2 + c1) * (2 * both + c2)) / ((mean1**2 + mean2**2 + c1) * (var1 + var2 + c2))


def test_ssim_is_its_definition_and_inside_that_of_skimage(pair):
    result, original = (side.numpy().reshape(-1, 40, 52) for side in pair)
    maps = np.stack([_ssim_by_definition(*planes) for planes in zip(original, result, strict=True)])
    assert ssim(*pair) == pytest.approx(maps.mean(), abs=1e-9)
    sides = (side.double() for side in pair)
    assert ssim(*pair) == pytest.approx(float(structural_similarity_index_measure(*sides, data_range=255.0)), abs=1e-9)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    inside = [structural_similarity(*planes, **options) for planes in zip(original, result, strict=True)]
    assert maps[:, 5:-5, 5:-5].mean() == pytest.approx(np.mean(inside), abs=1e-9)


def test_ssim_of_flat_pictures_is_exact():
    first, second = torch.full((1, 3, 24, 24), 250, dtype=torch.uint8), torch.full((1, 3, 24, 24), 251).to(torch.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(first, second) == pytest.approx((2 * 250 * 251 + c1) / (250**2 + 251**2 + c1), abs=1e-9)


@pytest.mark.parametrize("metric", [Psnr, Ssim])
def test_order_batches_and_processes_do_not_change_a_number(metric):
    generator = torch.Generator().manual_seed(1)
    originals = torch.randint(0, 256, (12, 1, 3, 24, 24), generator=generator, dtype=torch.uint8)
    results = torch.randint(0, 256, originals.shape, generator=generator, dtype=torch.uint8)
    one = metric()
    one.update(results, originals)
    for order, size in ((torch.randperm(12, generator=generator), 5), (torch.arange(12), 1)):
        other = metric()
        for part in order.split(size):
            other.update(results[part], originals[part])
        assert float(other.compute()) == pytest.approx(float(one.compute()), abs=1e-9)
    # What torchmetrics does across processes: states are gathered and summed.
    halves = [metric(), metric()]
    halves[0].update(results[::2], originals[::2])
    halves[1].update(results[1::2], originals[1::2])
    merged = metric()
    merged.merge_state(halves[0])
    merged.merge_state(halves[1])
    assert float(merged.compute()) == pytest.approx(float(one.compute()), abs=1e-9)


def test_exact_reconstructions_are_counted_not_averaged(pair):
    result, original = pair
    metric = Psnr()
    metric.update([result, original], [original, original])
    assert float(metric.compute()) == pytest.approx(psnr(*pair), abs=1e-12)
    assert int(metric.exact) == 1


def test_bits_per_pixel_counts_every_frame():
    assert bits_per_pixel(6144, (4, 3, 16, 32)) == 3.0
    metric = BitsPerPixel()
    metric.update(768, (1, 3, 16, 16))
    metric.update(256, (1, 3, 16, 16))
    assert float(metric.compute()) == 2.0


def test_codebook_use_by_hand():
    codes = torch.tensor([[0, 0], [1, 0], [1, 0], [0, 0]])
    metric = CodebookUse((4, 2))
    for row in codes:
        metric.update(row)
    # First codebook: two of four entries, half each: entropy ln 2. Second: one of two, always.
    assert metric.compute() == pytest.approx({"usage": (2 / 4 + 1 / 2) / 2, "perplexity": (2 + 1) / 2})


def test_codebook_use_of_a_skewed_distribution():
    counts = torch.tensor([[1, 2, 5]])
    shares = np.array([1, 2, 5]) / 8
    expected = math.exp(-(shares * np.log(shares)).sum())
    assert CodebookUse.from_counts(counts, (3,))["perplexity"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: psnr(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)), "uint8"),
        (lambda: psnr(torch.zeros(1, 3, 8, 8).byte(), torch.zeros(1, 3, 8, 9).byte()), "one shape"),
        (lambda: psnr(torch.zeros(3, 8, 8).byte(), torch.zeros(3, 8, 8).byte()), "T, C, H, W"),
        (lambda: ssim(torch.zeros(1, 3, 10, 16).byte(), torch.zeros(1, 3, 10, 16).byte()), "11 pixels"),
        (lambda: CodebookUse((4,)).update(torch.tensor([[4]])), "codes"),
        (lambda: CodebookUse((4,)).update(torch.tensor([[-1]])), "codes"),
        (lambda: CodebookUse((4, 4)).update(torch.tensor([[1]])), "codes"),
        (lambda: CodebookUse((4,)).update(torch.tensor([[1.0]])), "codes"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
