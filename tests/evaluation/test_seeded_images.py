"""Random numbers of images by seed and place."""

import numpy as np
import torch

from atoken.evaluation.seeded_images import image_generator


def test_numbers_are_those_of_a_mersenne_twister_seeded_by_numpy():
    """What the records of the embedded generators say was drawn is drawn by everybody."""
    state = int(np.random.SeedSequence([7, 3]).generate_state(1)[0])
    words = np.frombuffer(np.random.RandomState(state).bytes(4 * 6), dtype="<u4")
    expected = (words % 2**24) / 2**24
    assert torch.rand(6, generator=image_generator(7, 3)).tolist() == expected.tolist()
