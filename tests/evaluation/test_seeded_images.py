"""Random numbers of images by seed and place, and what counts as a setting."""

import numpy as np
import torch

from atoken.evaluation.seeded_images import image_generator, setting_defaults

from ..generation.helpers import lightning_pipeline, token_pipeline


def test_numbers_are_those_of_a_mersenne_twister_seeded_by_numpy():
    """What the records of the embedded generators say was drawn is drawn by everybody."""
    state = int(np.random.SeedSequence([7, 3]).generate_state(1)[0])
    words = np.frombuffer(np.random.RandomState(state).bytes(4 * 6), dtype="<u4")
    expected = (words % 2**24) / 2**24
    assert torch.rand(6, generator=image_generator(7, 3)).tolist() == expected.tolist()


def test_settings_are_those_of_sampling():
    """They stand in records, so that whatever else a call takes is none of them."""
    common = {"num_inference_steps", "guidance_scale"}
    assert set(setting_defaults(lightning_pipeline())) == common | {"guidance_channels", "guidance_start", "shift"}
    assert set(setting_defaults(token_pipeline())) == common | {"guidance_schedule", "temperature", "first_element"}
