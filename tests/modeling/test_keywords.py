"""Keyword arguments of forward passes: used, known not to be needed, or refused; none is swallowed."""

import pytest
import torch

from atoken import AtokenModel, AtokenVisionModel
from atoken.keywords_atoken import check_keywords

from .helpers import as_tokens, assert_close, make_model, media, pack, voxel_tokens

IDS = torch.tensor([[2, 5, 7, 1], [2, 9, 1, 1]])


@pytest.mark.parametrize(
    "options", [{"cache_frames": 4}, {"tile_frames": 8}, {"tile_frames": 8, "cache_frames": 8}, {"batch_tokens": 1}]
)
@torch.no_grad()
def test_the_whole_does_what_encode_and_decode_do(model, options):
    video = media(1, 20, 3, 32, 32)
    encoded = model.encode(video, **options)
    decoded = model.decode(encoded.latents, encoded.coords, encoded.cu_seqlens, **options)
    output = model(video, **options)
    assert torch.equal(output.pooler_output, encoded.pooler_output)
    assert torch.equal(output.reconstruction, decoded.pixel_values)
    if "batch_tokens" not in options:
        assert (output.reconstruction - model(video).reconstruction).abs().max() > 1e-3


def test_batch_tokens_reaches_both_transformers(model):
    sizes = []
    hooks = [
        part.input_layer.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        for part in (model.vision_model, model.decoder)
    ]
    model(media(3, 3, 32, 32), batch_tokens=4)
    for hook in hooks:
        hook.remove()
    assert sizes == [4] * 6


@torch.no_grad()
def test_the_pooling_head_on_request(model, text_image_model):
    output = model(media(1, 3, 32, 32), pool=False)
    assert output.pooler_output is None and output.image_embeds is None and output.reconstruction is not None
    with pytest.raises(ValueError, match="pool must be True with input_ids"):
        text_image_model(media(2, 3, 32, 32), input_ids=IDS, pool=False)


@torch.no_grad()
def test_images_of_different_sizes_in_one_tensor(model):
    images, sizes = media(2, 3, 48, 32), torch.tensor([[16, 32], [48, 16]])
    packed = pack([as_tokens(image[None, :, :h, :w]) for image, (h, w) in zip(images, sizes.tolist(), strict=True)])
    expected = model(*packed, return_loss=True)
    output = model(images, image_sizes=sizes, return_loss=True)
    encoded = model.encode(images, image_sizes=sizes)
    assert_close(output.reconstruction, expected.reconstruction, 1e-6)
    assert_close(output.loss, expected.loss, 1e-6)
    assert_close(encoded.latents, expected.latent_dist.mean, 1e-6)
    assert torch.equal(encoded.coords, packed[1]) and torch.equal(encoded.cu_seqlens, packed[2])


CALLS = {
    "AtokenModel.forward": lambda model, **options: model(media(1, 3, 32, 32), **options),
    "AtokenVisionModel.forward": lambda model, **options: model.vision_model(media(1, 3, 32, 32), **options),
    "AtokenDecoder.forward": lambda model, **options: model.decoder(media(1, 1, 2, 2, 12), **options),
    "encode": lambda model, **options: model.encode(media(1, 3, 32, 32), **options),
    "decode": lambda model, **options: model.decode(media(1, 1, 2, 2, 12), **options),
    "get_text_features": lambda model, **options: model.get_text_features(IDS, **options),
    "AtokenVisionModel": lambda model, **options: model.get_image_features(media(1, 3, 32, 32), **options),
    "AtokenGaussianDecoder.forward": lambda model, **options: model.gaussian_decoder(
        media(3, 768), voxel_tokens(3)[1][:, 1:], torch.tensor([0, 3]), **options
    ),
}


@pytest.fixture(scope="module")
def full_model() -> AtokenModel:
    size = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    return make_model(text=True, gaussian_config={**size, "num_gaussians": 2, "resolution": 16})


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("typo", ["cach_frames", "tile_frame", "num_items_in_batches"])
def test_what_does_not_exist_is_refused(full_model, name, typo):
    with pytest.raises(TypeError, match=typo) as error:
        CALLS[name](full_model, **{typo: 4})
    assert name in str(error.value)


def test_no_loss_takes_a_number_of_items(full_model):
    """Whoever takes it promises to divide the loss by it."""
    with pytest.raises(TypeError, match="num_items_in_batch"):
        full_model(media(1, 3, 32, 32), num_items_in_batch=4, return_loss=True)
    assert AtokenModel.accepts_loss_kwargs is False


@torch.no_grad()
def test_a_batch_of_the_processor_fits_every_part(full_model):
    tokens, coords, cu_seqlens = pack([as_tokens(media(1, 3, 32, 32)), as_tokens(media(4, 3, 16, 32))])
    batch = {
        "pixel_values": tokens,
        "coords": coords,
        "cu_seqlens": cu_seqlens,
        "media_sizes": torch.tensor([[1, 32, 32], [4, 16, 32]]),
        "pixel_mask": torch.ones(len(tokens), 1024, dtype=torch.bool),
        "is_video": torch.tensor([False, True]),
        "input_ids": IDS,
        "attention_mask": torch.ones_like(IDS),
    }
    output = full_model(**batch, labels=torch.tensor([3, 4]), return_loss=True)
    pooled = full_model.vision_model(tokens, coords, cu_seqlens).pooler_output
    assert_close(output.pooler_output, pooled, 1e-6)
    assert_close(full_model.vision_model(**batch).pooler_output, pooled, 1e-6)
    assert_close(full_model.get_image_features(**batch).pooler_output, pooled, 1e-6)
    text = full_model.get_text_features(IDS, torch.ones_like(IDS)).pooler_output
    assert_close(full_model.get_text_features(**batch).pooler_output, text, 1e-6)


@torch.no_grad()
def test_what_transformers_hands_to_any_model(model):
    images = media(1, 3, 32, 32)
    output = model.vision_model(images, output_attentions=False, use_cache=None, position_ids=None, task_ids=None)
    assert torch.equal(output.pooler_output, model.vision_model(images).pooler_output)
    assert isinstance(model.vision_model(images, return_dict=False), tuple)
    check_keywords("f", {"output_attentions": True})  # warns
    assert isinstance(model.vision_model, AtokenVisionModel)
