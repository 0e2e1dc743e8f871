"""transformers' VQ tokenizers and encoders behind the interface: tiny random models of the real classes, saved."""

import numpy as np
import pytest
import torch
import transformers

from atoken.evaluation.models.transformers_embedders import ImageTextEmbedder, VideoTextEmbedder
from atoken.evaluation.models.transformers_tokenizers import ChameleonTokenizer, Emu3Tokenizer

from ...processing.samples import photo, tiny_tokenizer


def _media(frames: int, height: int = 37, width: int = 50) -> torch.Tensor:
    return torch.from_numpy(np.stack([photo(height, width, seed) for seed in range(frames)])).permute(0, 3, 1, 2)


def _padded(media: torch.Tensor, temporal: int, spatial: int) -> torch.Tensor:
    """Pads to (T, 3, H, W) in 0 to 255, by repeating the last row, column and frame."""
    rows = torch.arange(-(-37 // spatial) * spatial).clamp(max=36)
    columns = torch.arange(-(-50 // spatial) * spatial).clamp(max=49)
    times = torch.arange(-(-len(media) // temporal) * temporal).clamp(max=len(media) - 1)
    return media[times][:, :, rows][..., columns].float()


@pytest.fixture(scope="module")
def emu3(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.Emu3VQVAEConfig(
        codebook_size=40,
        embed_dim=4,
        latent_channels=4,
        base_channels=32,
        channel_multiplier=[1, 1, 1],
        num_res_blocks=1,
        attn_resolutions=[],
        hidden_size=32,
    )
    model = transformers.Emu3VQVAE(config).eval()
    folder = tmp_path_factory.mktemp("emu3")
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("frames", [1, 6])
@torch.no_grad()
def test_emu3_round_trip_is_the_classes_own(emu3, frames):
    folder, model = emu3
    tokenizer, media = Emu3Tokenizer(str(folder)), _media(frames)
    encoded = tokenizer.encode(media)
    result = tokenizer.decode(encoded)
    assert result.shape == media.shape and result.dtype == torch.uint8
    pixels = _padded(media, 1 if frames == 1 else 4, 4) / 127.5 - 1
    hidden = model.encoder(pixels[None].repeat(1, 4, 1, 1, 1) if frames == 1 else pixels[None])
    hidden = model.quant_conv(hidden.transpose(1, 2)).transpose(1, 2)
    codes = model.quantize(hidden)  # (1, t, h, w)
    assert torch.equal(encoded.codes[..., 0], codes[0])
    assert encoded.bits == codes.numel() * 6 and encoded.latent_shape == ((1, 10, 13) if frames == 1 else (2, 10, 13))
    expected = model.decode(codes)[0][:frames] if frames > 1 else model.decode(codes[:, 0])
    expected = ((expected + 1) * 127.5).round().clamp(0, 255)[..., :37, :50]
    assert (expected - result.float()).abs().max() <= 1  # rounding
    assert tokenizer.codebook_sizes == (40,)


def _chameleon() -> transformers.ChameleonVQVAE:
    torch.manual_seed(0)
    config = transformers.ChameleonVQVAEConfig(
        embed_dim=8,
        num_embeddings=30,
        latent_channels=8,
        resolution=64,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=1,
    )
    return transformers.ChameleonVQVAE(config).eval()


@torch.no_grad()
def test_chameleon_has_codes_only(tmp_path):
    model = _chameleon()
    model.save_pretrained(tmp_path)
    tokenizer = ChameleonTokenizer(str(tmp_path))
    encoded = tokenizer.encode(_media(1))
    expected = model.encode(_padded(_media(1), 1, 2) * 0.0078 - 1).image_tokens
    assert torch.equal(encoded.codes.flatten(), expected.flatten())
    assert encoded.bits == 19 * 25 * 5 and not tokenizer.decodes
    with pytest.raises(NotImplementedError, match="decoder"):
        tokenizer.decode(encoded)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@torch.no_grad()
def test_vq_models_run_in_their_dtype(emu3, tmp_path, dtype):
    model = _chameleon().to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    encoded = ChameleonTokenizer(str(tmp_path), dtype=dtype).encode(_media(1))
    pixels = (_padded(_media(1), 1, 2) * 0.0078 - 1).to(model.dtype)
    assert torch.equal(encoded.codes.flatten(), model.encode(pixels).image_tokens.flatten())
    tokenizer = Emu3Tokenizer(str(emu3[0]), dtype=dtype)
    assert tokenizer.decode(tokenizer.encode(_media(3))).shape == (3, 3, 37, 50)


def test_weights_of_a_whole_model_are_refused(tmp_path):
    """Refuses names that begin otherwise, as every weight of the part would be drawn anew."""
    model = _chameleon()
    state = {f"model.vqmodel.{name}": value for name, value in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match="path must hold all weights of ChameleonVQVAE, got .* lacks"):
        ChameleonTokenizer(str(tmp_path))


SIZES = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {
    **SIZES,
    "vocab_size": 99,
    "max_position_embeddings": 16,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def _clip() -> tuple:
    config = transformers.CLIPConfig(
        text_config=TEXT, vision_config={**SIZES, "image_size": 32, "patch_size": 8}, projection_dim=24
    )
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return transformers.CLIPModel(config), transformers.CLIPImageProcessor(**size), 24


def _siglip() -> tuple:
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    config = transformers.SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=vision)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return transformers.SiglipModel(config), processor, 32


def _siglip2() -> tuple:
    config = transformers.Siglip2Config(
        text_config={**TEXT, "projection_size": 32}, vision_config={**SIZES, "num_patches": 16, "patch_size": 8}
    )
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    return transformers.Siglip2Model(config), processor, 32


@pytest.mark.parametrize("build", [_clip, _siglip, _siglip2])
@torch.no_grad()
def test_images_videos_and_texts(build, tmp_path):
    torch.manual_seed(0)
    model, processor, width = build()
    for part in (model, processor, tiny_tokenizer()):
        part.save_pretrained(tmp_path)
    embedder = ImageTextEmbedder(str(tmp_path))
    assert embedder.canonical_prompts == (build is not _clip)
    images, clip = [_media(1), _media(1).flip(-1)], _media(3)
    found = embedder.embed(images)
    model.eval()
    frames = [processor(images=[frame], return_tensors="pt") for frame in (images[0][0], images[1][0], *clip)]
    expected = torch.cat([model.get_image_features(**frame).pooler_output for frame in frames])
    assert found.shape == (2, width)
    torch.testing.assert_close(found, expected[:2], atol=1e-5, rtol=1e-5)
    unit = expected[2:] / expected[2:].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(embedder.embed([clip])[0], unit.mean(0), atol=1e-5, rtol=1e-5)

    texts = ["a photo of dog", "cat"]
    if build is _siglip2:
        # Its own tokenizer class reads words in another way than the tiny one was made for.
        ids = embedder.tokenizer(texts, padding="max_length", max_length=16)["input_ids"]
    else:
        ids = [[4, 5, 6, 7, 1], [8, 1]]
    if build is _siglip:
        ids = [row + [0] * (16 - len(row)) for row in ids]
    rows = [model.get_text_features(input_ids=torch.tensor([row])).pooler_output for row in ids]
    torch.testing.assert_close(embedder.embed_texts(texts), torch.cat(rows), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_siglip_reads_small_letters(tmp_path):
    """Lowers capitals: SigLIP 2 of fixed resolution is a SigLIP model with a tokenizer that keeps them."""
    torch.manual_seed(0)
    model, processor, _ = _siglip()
    for part in (model, processor, tiny_tokenizer()):
        part.save_pretrained(tmp_path)
    embedder = ImageTextEmbedder(str(tmp_path))
    small = embedder.embed_texts(["a photo of dog", "cat"])
    torch.testing.assert_close(embedder.embed_texts(["A photo of DOG", "Cat"]), small)


@pytest.fixture(scope="module")
def videoprism(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {**SIZES, "num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1}
    config = transformers.VideoPrismConfig(
        text_config=TEXT,
        vision_config={**sizes, "image_size": 32, "num_frames": 4, "tubelet_size": [1, 8, 8]},
    )
    model = transformers.VideoPrismClipModel(config).eval()
    folder = tmp_path_factory.mktemp("videoprism")
    processor = transformers.LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}, do_normalize=False)
    for part in (model, processor, tiny_tokenizer()):
        part.save_pretrained(folder)
    return VideoTextEmbedder(str(folder)), model, processor


def _videoprism_by_hand(model, processor, clip: torch.Tensor) -> torch.Tensor:
    own = transformers.VideoPrismProcessor(processor, tiny_tokenizer())
    size = {"height": 32, "width": 32}
    inputs = own(videos=[clip], do_sample_frames=False, size=size, return_tensors="pt")
    assert inputs["pixel_values_videos"].min() >= 0 and inputs["pixel_values_videos"].max() <= 1
    return model.get_video_features(**inputs).pooler_output.flatten(1)


@torch.no_grad()
def test_videoprism(videoprism):
    embedder, model, processor = videoprism
    clips = [_media(4), _media(4).flip(-1)]
    expected = torch.cat([_videoprism_by_hand(model, processor, clip) for clip in clips])
    found = embedder.embed(clips)
    assert found.shape == (2, 32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    texts = ["a photo of dog", "cat"]
    ids = torch.tensor([[4, 5, 6, 7, 1] + [0] * 11, [8, 1] + [0] * 14])
    mask = (ids != 0).long()
    expected = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    torch.testing.assert_close(embedder.embed_texts(texts), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("count", "chosen"), [(1, [0, 0, 0, 0]), (3, [0, 0, 1, 2]), (9, [0, 2, 4, 6])])
@torch.no_grad()
def test_videoprism_gets_as_many_frames_as_it_has_positions(videoprism, count, chosen):
    embedder, model, processor = videoprism
    clip = _media(count)
    expected = _videoprism_by_hand(model, processor, clip[chosen])
    torch.testing.assert_close(embedder.embed([clip]), expected, atol=1e-5, rtol=1e-5)


def test_what_is_missing_is_named(tmp_path, emu3):
    with pytest.raises(FileNotFoundError, match="hf download"):
        Emu3Tokenizer(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="hf download"):
        ImageTextEmbedder(str(tmp_path / "none"))
