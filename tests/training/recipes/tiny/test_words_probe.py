"""The probe: a ridge regression like NumPy's least squares, its strength by photos, and features of every block."""

import numpy as np
import torch

from atoken import AtokenModel
from atoken.training.recipes.tiny.words_probe import Ridge, accuracy, choose_strength, describe

from ...stage_samples import WIDTH, make_start


def test_ridge_is_least_squares_with_a_penalty():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 5, generator=generator) * 3 + 1, torch.randn(60, 2, generator=generator)
    z = ((x - x.mean(0)) / (x.std(0) + 1e-6)).double().numpy()
    stacked = np.concatenate([z, np.sqrt(0.5 * 60) * np.eye(5)])
    target = np.concatenate([(y - y.mean(0)).double().numpy(), np.zeros((5, 2))])
    weights = np.linalg.lstsq(stacked, target, rcond=None)[0]
    expected = z @ weights + y.mean(0).double().numpy()
    np.testing.assert_allclose(Ridge(x, y, 0.5)(x).numpy(), expected, atol=1e-5)


def test_noise_asks_for_a_strong_penalty_and_laws_for_a_weak_one():
    generator = torch.Generator().manual_seed(0)
    x, owner = torch.randn(80, 30, generator=generator), torch.arange(80) // 2
    law, noise = x @ torch.randn(30, 4, generator=generator), torch.randn(80, 4, generator=generator) + 1
    assert choose_strength(x, law, owner, (0.001, 100.0)) == 0.001
    assert choose_strength(x, noise, owner, (0.001, 100.0)) == 100.0


def test_accuracy_is_by_cosine():
    words = torch.eye(6)
    predictions = torch.tensor([[5.0, 1, 0, 0, 0, 0], [0.1, 0.2, 0, 0, 0, 0], [0.3, 0.2, 0.1, 0.05, 0, -1]])
    found = accuracy(predictions, words, torch.tensor([0, 0, 5]))
    assert abs(found["top1"] - 1 / 3) < 1e-6 and abs(found["top5"] - 2 / 3) < 1e-6


def test_pictures_are_described_by_the_pooled_token_and_every_block(tmp_path):
    encoder = AtokenModel.from_pretrained(make_start(tmp_path / "start")).eval().vision_model
    pictures = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)
    found = describe(encoder, pictures)
    assert found.shape == (2, WIDTH * (1 + 2 * len(encoder.blocks)))
    torch.testing.assert_close(found[1:], describe(encoder, pictures[1:]))
