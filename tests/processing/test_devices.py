"""Media go to devices that have no float64, such as Apple's GPUs."""

import numpy as np
import pytest
import torch

from atoken.processing import AtokenImageProcessor, AtokenVideoProcessor
from atoken.processing.media_values_atoken import on_device

from .samples import clip, photo


@pytest.fixture
def device_without_float64(monkeypatch):
    """Stands on the CPU under another name: what arrives in float64 is an error, as on MPS."""
    to = torch.Tensor.to

    def move(self, *args, **options):
        if "no float64" not in (*args, options.get("device")):
            return to(self, *args, **options)
        if self.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return self

    monkeypatch.setattr(torch.Tensor, "to", move)
    return "no float64"


@pytest.mark.parametrize("as_type", [np.asarray, torch.from_numpy])
def test_float64_is_converted_before_it_moves(device_without_float64, as_type):
    image, video = AtokenImageProcessor(), AtokenVideoProcessor()
    picture, frames = (as_type(media.astype(np.float64) / 255) for media in (photo(), clip()))
    moved = image.process_image(picture, device=device_without_float64)
    assert torch.equal(moved, image.process_image(picture)) and moved.dtype == torch.float32
    options = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    values = torch.as_tensor(np.asarray(frames)).permute(0, 3, 1, 2)
    expected = video._prepare_frames(values, "videos", {**options, "device": None})
    assert torch.equal(video._prepare_frames(values, "videos", {**options, "device": device_without_float64}), expected)


def test_values_are_still_checked(device_without_float64):
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\]"):
        AtokenImageProcessor().process_image(np.full((5, 5, 3), 2.0), device=device_without_float64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_other_types_move_as_they_are(dtype):
    values = torch.ones(2, 3, dtype=dtype)
    assert on_device(values, None) is values
    moved = on_device(values, "meta")
    assert moved.device.type == "meta" and moved.dtype == (torch.float32 if dtype == torch.float64 else dtype)
