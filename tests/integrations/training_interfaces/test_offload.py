"""Weights that accelerate keeps elsewhere (`model.device` is "meta"), or spreads over several devices."""

import pytest
import torch

from atoken.packed_layouts_atoken import PackedLayout

from ...modeling.helpers import as_tokens, assert_close, make_model, media, pack, voxel_tokens

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


GAUSSIANS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
OTHER = torch.device("meta")  # stands for a second GPU: a tensor that is left behind on the CPU is an error there too


def spread(model, *parts):
    """Puts parts of a model on the other device, with the hooks that accelerate gives them."""
    for part in parts:
        module = model.get_submodule(part)
        accelerate.hooks.add_hook_to_module(module.to(OTHER), accelerate.hooks.AlignDevicesHook(OTHER))
    return model


ENCODER = ("vision_model.post_layernorm", "vision_model.head", "latent_proj")


@pytest.mark.parametrize(
    ("options", "first"),
    [({}, 0), ({}, 1), ({"tile_frames": 8, "cache_frames": 4}, 1)],
    ids=["all blocks", "the second block", "the second block, with a cache"],
)
@torch.no_grad()
def test_an_encoder_on_two_devices(options, first):
    blocks = [f"vision_model.blocks.{index}" for index in range(first, 2)]
    model = spread(make_model(), *blocks, *ENCODER)
    ragged = pack([as_tokens(media(20, 3, 32, 48)), as_tokens(media(1, 3, 48, 16))])
    encoded = model.encode(*ragged, **options)
    assert encoded.latents.shape == (33, 12) and encoded.latents.device == OTHER
    assert encoded.pooler_output.shape == (2, 48)


@torch.no_grad()
def test_a_position_table_elsewhere():
    # What comes back from it is wanted where the tokens are.
    model = make_model()
    table = model.vision_model.position_embedding
    accelerate.hooks.add_hook_to_module(table, accelerate.hooks.AlignDevicesHook(torch.device("cpu")))
    spread(model, "vision_model.input_layer", *[f"vision_model.blocks.{index}" for index in range(2)], *ENCODER)
    assert model.encode(media(1, 3, 32, 48)).latents.device == OTHER


@torch.no_grad()
def test_a_loss_on_two_devices():
    model = spread(make_model(), "decoder.blocks.1", "decoder.out_norm", "decoder.out_layer")
    sizes = torch.tensor([[1, 30, 40], [1, 32, 48]])
    output = model(media(2, 3, 32, 48), media_sizes=sizes, return_loss=True)
    assert output.reconstruction.device == output.loss.device == OTHER


@torch.no_grad()
def test_texts_are_compared_where_the_media_are():
    model = make_model(text=True)
    text = model.get_text_features(torch.tensor([[2, 5, 1], [3, 4, 1]])).pooler_output
    logits = model.compare(torch.zeros(3, 48, device=OTHER), text)
    assert logits.shape == (3, 2) and logits.device == OTHER


@torch.no_grad()
def test_a_gaussian_decoder_on_two_devices():
    model = make_model(gaussian_config={**GAUSSIANS, "num_gaussians": 2, "resolution": 16})
    features = model.decode(*_latents_of(model, voxels := pack([voxel_tokens(30), voxel_tokens(25, seed=1)])))
    spread(model, "gaussian_decoder.blocks.1", "gaussian_decoder.out_layer")
    windows = PackedLayout.build(voxels[1], [30, 25], 4, model.config.gaussian_config)
    inputs = features.pixel_values[:, :768], voxels[1][:, 1:], voxels[2]
    gaussians = model.gaussian_decoder(*inputs, layout=windows)
    assert [len(each) for each in gaussians] == [60, 50] and gaussians[0].device == OTHER


def _latents_of(model, batch):
    return model.encode(*batch).latents, *batch[1:]
