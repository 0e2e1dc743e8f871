"""Weights that accelerate keeps elsewhere: `model.device` is "meta", and data go to where the model computes."""

import pytest
import torch

from ...modeling.helpers import assert_close, make_model, media, pack, voxel_tokens

accelerate = pytest.importorskip("accelerate")


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(params=["cpu", "disk"])
def offloaded(request, tmp_path):
    model = make_model()
    if request.param == "cpu":
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        accelerate.disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
    assert model.device.type == "meta" and model.execution_device == torch.device("cpu")
    return model


def test_streams(offloaded, model):
    video = media(22, 3, 32, 32)
    latents = list(model.encode_stream(video))
    for actual, expected in zip(offloaded.encode_stream(video), latents, strict=True):
        assert_close(actual, expected, 1e-5)
    decoded = list(model.decode_stream(latents, num_frames=22))
    for actual, expected in zip(offloaded.decode_stream(latents, num_frames=22), decoded, strict=True):
        assert_close(actual, expected, 1e-5)


def test_streams_of_patches(offloaded, model):
    patches = media(6, 2, 3, 3072)
    latents = list(model.encode_stream(patches, as_patches=True))
    for actual, expected in zip(offloaded.encode_stream(patches, as_patches=True), latents, strict=True):
        assert_close(actual, expected, 1e-5)
    decoded = list(model.decode_stream(latents, as_patches=True))
    for actual, expected in zip(offloaded.decode_stream(latents, as_patches=True), decoded, strict=True):
        assert_close(actual, expected, 1e-5)


def test_whole_batches(offloaded, model):
    inputs = pack([voxel_tokens(9), voxel_tokens(5, seed=1)])
    with torch.no_grad():
        actual, expected = offloaded(*inputs), model(*inputs)
    assert_close(actual.reconstruction, expected.reconstruction, 1e-5)
    assert_close(actual.pooler_output, expected.pooler_output, 1e-5)


def test_a_model_in_one_place(model):
    assert model.execution_device == model.vision_model.execution_device == model.device
