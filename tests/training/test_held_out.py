"""The scores in training records: 8-bit PSNR per item, and the protocol's resize and crop."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from atoken.training.held_out import load_squares, measure


def test_psnr_and_ssim_match_skimage():
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (3, 48, 64), dtype=np.uint8)
    noisy = np.clip(original.astype(int) + rng.integers(-30, 31, original.shape), 0, 255).astype(np.uint8)
    scores = measure(lambda _: torch.from_numpy(noisy)[None, None].float() / 127.5 - 1, [torch.from_numpy(original)])
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(original, noisy), abs=1e-4)
    expected = structural_similarity(
        original, noisy, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert scores["ssim"] == pytest.approx(expected, abs=1e-3)


def test_psnr_does_not_overflow_bytes():
    black = torch.zeros(3, 16, 16, dtype=torch.uint8)
    scores = measure(lambda video: torch.ones_like(video), [black])
    assert scores["psnr"] == pytest.approx(0.0)


def test_a_video_has_one_error_over_all_frames():
    original = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    changed = torch.stack([torch.zeros(3, 16, 16), torch.full((3, 16, 16), 10.0)])
    scores = measure(lambda _: changed[None] / 127.5 - 1, [original])
    assert scores["psnr"] == pytest.approx(10 * np.log10(255**2 / 50), abs=1e-3)


def test_squares_have_the_short_side_asked_for(tmp_path):
    Image.new("RGB", (90, 60), (200, 100, 50)).save(tmp_path / "a.png")
    (square,) = load_squares(tmp_path, 32)
    assert square.shape == (3, 32, 32) and square.dtype == torch.uint8
    assert square[:, 16, 16].tolist() == [200, 100, 50]
