"""Text to media on the autoencoders of diffusers: what is read of a configuration is what a model does."""

import diffusers
import pytest
import torch

from atoken.generation.media_autoencoders_atoken import MediaAutoencoder, decode_media, describe_autoencoder
from atoken.generation.media_checks_atoken import check_num_frames
from atoken.tokenizing.autoencoders import CLASSES

from ..autoencoder_samples import COSMOS
from .helpers import autoencoder
from .media_helpers import IMAGE_STATISTICS, VIDEO_STATISTICS, media_pipeline, seeds

PICTURES = {"layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4}
WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
DC_PARTS = {
    **{f"{part}_block_out_channels": (8, 8) for part in ("encoder", "decoder")},
    **{f"{part}_layers_per_block": (1, 1) for part in ("encoder", "decoder")},
    **{f"{part}_block_types": ("ResBlock", "ResBlock") for part in ("encoder", "decoder")},
    **{f"{part}_qkv_multiscales": ((), ()) for part in ("encoder", "decoder")},
}
# name -> (class, configuration)
AUTOENCODERS = {
    "sd": (
        "AutoencoderKL",
        {
            **PICTURES,
            "block_out_channels": (8, 8, 8),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
        },
    ),
    "dc-ae": ("AutoencoderDC", {"latent_channels": 4, "attention_head_dim": 8, **DC_PARTS}),
    "wan-2.1": ("AutoencoderKLWan", WAN),
    "wan-2.2": (
        "AutoencoderKLWan",
        {
            **WAN,
            "decoder_base_dim": 8,
            "is_residual": True,
            "in_channels": 12,
            "out_channels": 12,
            "patch_size": 2,
            "scale_factor_spatial": 16,
        },
    ),
    "hunyuan": ("AutoencoderKLHunyuanVideo", {**PICTURES, "block_out_channels": (8, 8, 8, 8)}),
    "cosmos": ("AutoencoderKLCosmos", COSMOS),
    "qwen-image": ("AutoencoderKLQwenImage", WAN),
}


def made(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    class_name, config = AUTOENCODERS[name]
    return getattr(diffusers, class_name)(**config).eval()


@torch.no_grad()
def latents_of(vae: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    encoded = vae.encode(pixels)
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent


def test_every_autoencoder_of_a_corpus_is_known():
    assert {class_name for class_name, _ in AUTOENCODERS.values()} == set(CLASSES)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_what_a_configuration_says_is_what_the_model_does(name):
    vae, pixels = made(name), torch.zeros(1, 3, 64, 64)
    about = describe_autoencoder(vae)
    latents = latents_of(vae, pixels[:, :, None] if about.takes_videos else pixels)
    assert latents.shape[1] == about.channels and latents.shape[-1] == 64 // about.side
    if about.takes_videos:
        assert about.is_causal
        frames = 1 + 2 * about.frames
        assert latents_of(vae, torch.zeros(1, 3, frames, 64, 64)).shape[2] == about.latent_frames(frames) == 3


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_what_is_decoded_is_what_the_model_decodes(name):
    vae = made(name)
    about = describe_autoencoder(vae)
    latents = torch.randn(2, about.channels, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = decode_media(vae, latents, 1)
        expected = vae.decode(latents).sample[:, :, 0] if about.takes_videos else vae.decode(latents[:, :, 0]).sample
        assert torch.equal(images, expected) and images.shape == (2, 3, 2 * about.side, 2 * about.side)
        if about.takes_videos:
            frames = 1 + about.frames
            assert decode_media(vae, latents.repeat(1, 1, 2, 1, 1), frames).shape[:3] == (2, 3, frames)


def test_a_clip_is_sampled_and_decoded_with_its_statistics():
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(**WAN).eval()
    pipeline = media_pipeline(vae=vae)
    options = {"num_frames": 9, "height": 16, "width": 24}
    latents = pipeline("a star", generator=seeds(3), output_type="latent", **options).frames
    assert latents.shape == (1, 4, 3, 2, 3)
    found = pipeline("a star", generator=seeds(3), output_type="pt", **options).frames
    mean, std = (torch.tensor(VIDEO_STATISTICS[part])[:, None, None, None] for part in ("mean", "std"))
    with torch.no_grad():
        expected = vae.decode(latents * std + mean).sample
    torch.testing.assert_close(found, ((expected + 1) / 2).clamp(0, 1).transpose(1, 2))
    assert found.shape == (1, 9, 3, 16, 24)
    assert pipeline("a star", height=16, width=24, output_type="pt").images.shape == (1, 3, 16, 24)


def test_after_save_and_load(tmp_path):
    pipeline = media_pipeline(vae=made("wan-2.1"), video_statistics=None)
    pipeline.save_pretrained(tmp_path)
    again = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    options = {"height": 16, "width": 16, "output_type": "pt"}
    first, second = (each("a star", generator=seeds(1), **options).images for each in (pipeline, again))
    assert torch.equal(first, second) and again.config.image_statistics == IMAGE_STATISTICS


@pytest.mark.parametrize(
    ("about", "good", "bad", "message"),
    [
        (MediaAutoencoder(4, 4, 8, True), (1, 5, 81), (0, 2, 4, 8, 5.0), "1 for images, or 1 . 4 k for videos, got"),
        (MediaAutoencoder(4, 8, 8, True), (1, 9, 17), (5, 8), "1 for images, or 1 . 8 k for videos, got"),
        (MediaAutoencoder(4, 1, 8, False), (1,), (2, 8), "1 for images, as vae is an autoencoder of pictures, got"),
        (MediaAutoencoder(4, 4, 16, False), (1, 8, 80), (4, 9), "1 for images, or a multiple of 4 from 8 on for"),
    ],
)
def test_how_many_frames_there_may_be(about, good, bad, message):
    for frames in good:
        check_num_frames(frames, about)
    for frames in bad:
        with pytest.raises(ValueError, match=f"num_frames must be {message}"):
            check_num_frames(frames, about)


def test_other_classes_and_other_channels_are_refused():
    with pytest.raises(
        ValueError, match="vae must be one of AutoencoderAtoken, AutoencoderKL, .*, got AutoencoderTiny"
    ):
        media_pipeline(vae=diffusers.AutoencoderTiny())
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="vae must have the transformer's 4 latent channels, got 6"):
        media_pipeline(vae=diffusers.AutoencoderKLWan(**{**WAN, "z_dim": 6}))
    assert describe_autoencoder(autoencoder()) == MediaAutoencoder(4, 4, 16, False)
