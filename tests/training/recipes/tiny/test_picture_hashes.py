"""The difference hash against its definition, and what it recognizes."""

import io

import numpy as np
from PIL import Image

from atoken.training.recipes.tiny.picture_hashes import BITS_APART, bits_between, difference_hash


def picture(seed):
    """Draws soft random blobs."""
    noise = np.random.default_rng(seed).uniform(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)


def test_bits_say_where_it_gets_brighter_to_the_right():
    # 9 x 8 pixels are their own tiny copy: the first row rises, the others fall.
    gray = np.tile(np.arange(200, 20, -20, dtype=np.uint8), (8, 1))
    gray[0] = gray[0, ::-1]
    assert difference_hash(Image.fromarray(gray)) == "ff" + 7 * "00"
    assert bits_between("ff" + 7 * "00", "f" + 15 * "0") == 4


def test_copies_are_alike_and_other_pictures_are_not():
    for seed in range(5):
        original = picture(seed)
        content = io.BytesIO()
        original.resize((160, 120)).save(content, "JPEG", quality=50)
        copy = Image.open(content)
        assert bits_between(difference_hash(original), difference_hash(copy)) <= BITS_APART
        assert bits_between(difference_hash(original), difference_hash(picture(seed + 100))) > 3 * BITS_APART
