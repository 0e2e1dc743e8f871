"""Photos as squares, by the protocol's resize and crop."""

import torch
from PIL import Image

from atoken.training.recipes.tiny.crops import load_squares


def test_squares_have_the_short_side_asked_for(tmp_path):
    Image.new("RGB", (90, 60), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    (square,) = load_squares(tmp_path, 32)
    assert square.shape == (3, 32, 32) and square.dtype == torch.uint8
    assert (square[:, 16, 16].int() - torch.tensor([200, 100, 50])).abs().max() <= 2


def test_pictures_that_are_no_photographs_are_left_out(tmp_path):
    for folder in ("a-textures", "a", "b-generated", "b-paintings"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 64), (0, 0, 250 if folder == "a" else 0)).save(tmp_path / folder / "x.jpg")
    (square,) = load_squares(tmp_path, 64)
    assert square[2, 16, 16] > 240
