"""Clips drawn from photos: steady speeds, and pixels of the photo alone."""

import numpy as np
import torch

from atoken.training.data.pans import FRAMES, glide


def test_a_camera_glides():
    columns = torch.arange(200).float().expand(3, 160, 200).to(torch.uint8)
    speeds = []
    for seed in range(8):
        frames = glide(columns, np.random.default_rng(seed))
        assert frames.shape == (FRAMES, 3, 88, 88) and frames.dtype == torch.uint8
        means = frames[:, 0].float().mean((1, 2))
        steps = means.diff()
        speeds.append(float(steps.abs().mean()))
        # A steady speed, up to rounding, wherever nothing is mirrored.
        assert (steps - steps.median()).abs().median() < 0.3
    assert max(speeds) > 1 > min(speeds)
    still = glide(torch.full((3, 90, 120), 77, dtype=torch.uint8), np.random.default_rng(0))
    assert (still == 77).all()
