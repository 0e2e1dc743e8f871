"""Photos as squares, by the protocol's resize and crop."""

import torch
from PIL import Image

from atoken.training.recipes.tiny.crops import load_squares


def test_squares_have_the_short_side_asked_for(tmp_path):
    Image.new("RGB", (90, 60), (200, 100, 50)).save(tmp_path / "a.png")
    (square,) = load_squares(tmp_path, 32)
    assert square.shape == (3, 32, 32) and square.dtype == torch.uint8
    assert square[:, 16, 16].tolist() == [200, 100, 50]
