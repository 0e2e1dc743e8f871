"""Pictures in other colors: the same outline and light, another hue."""

import numpy as np
import torch
from PIL import Image

from atoken.training.recipes.tiny_image_to_object.objects import condition_views
from atoken.training.recipes.tiny_image_to_object.recoloring import recolored


def test_colors_change_and_outlines_stay():
    (picture,), _ = condition_views("train", 0, 1)
    made = [recolored(picture, torch.Generator().manual_seed(seed)) for seed in range(32)]
    alpha = np.asarray(picture)[..., 3]
    assert all(np.array_equal(np.asarray(each)[..., 3], alpha) for each in made)
    shown = alpha == 255
    hues = np.array([np.asarray(each.convert("RGB").convert("HSV"))[..., 0][shown].mean() for each in made])
    assert all(np.histogram(hues, bins=4, range=(0, 256))[0])  # hues of every quarter of the circle


def test_a_picture_follows_from_the_numbers():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8), "RGBA")
    one, again, other = (np.asarray(recolored(picture, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
