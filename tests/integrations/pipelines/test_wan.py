"""AutoencoderAtoken in the Wan pipelines: text, image and video to video."""

import runpy
from pathlib import Path

import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from .components import (
    CHANNELS,
    COLUMNS,
    DEVICES,
    HEIGHT,
    PROMPT,
    SIZE,
    WIDTH,
    as_shown,
    assert_pictures,
    assert_same,
    check_offloading,
    check_saved_and_loaded,
    check_slicing_and_tiling,
    diffusers,
    draw,
    make_vae,
    noise,
    pixels,
    run,
    standing_still,
    tokenizer,
    umt5,
)

TEXT = {"prompt": PROMPT, "negative_prompt": "snow", "max_sequence_length": 12}


def transformer(in_channels: int = CHANNELS, image_dim: int | None = None) -> torch.nn.Module:
    return draw(
        diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=in_channels,
            out_channels=CHANNELS,
            text_dim=WIDTH,
            freq_dim=16,
            ffn_dim=32,
            num_layers=1,
            rope_max_seq_len=32,
            image_dim=image_dim,
            added_kv_proj_dim=None if image_dim is None else 24,
        )
    )


def make(kind: type, **components):
    components = {
        "vae": make_vae(),
        "transformer": transformer(),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "text_encoder": umt5(),
        "tokenizer": tokenizer(),
        **components,
    }
    return kind(**components)


def text_to_video():
    return make(diffusers.WanPipeline)


def image_to_video(first_frame: str):
    """Wan 2.2 keeps the first latent frame as it is; Wan 2.1 shows it to the denoiser, with a mask and CLIP's view."""
    if first_frame == "kept":
        return make(diffusers.WanImageToVideoPipeline, image_encoder=None, image_processor=None, expand_timesteps=True)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=WIDTH,
    )
    return make(
        diffusers.WanImageToVideoPipeline,
        image_encoder=draw(CLIPVisionModel(vision)),
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        transformer=transformer(2 * CHANNELS + 4, image_dim=WIDTH),
    )


def video_to_video():
    return make(diffusers.WanVideoToVideoPipeline)


def normalized(vae, latents: torch.Tensor) -> torch.Tensor:
    return (latents - vae.latents_mean.view(-1, 1, 1, 1)) / vae.latents_std.view(-1, 1, 1, 1)


def denormalized(vae, latents: torch.Tensor) -> torch.Tensor:
    return latents * vae.latents_std.view(-1, 1, 1, 1) + vae.latents_mean.view(-1, 1, 1, 1)


# Wan rounds a number of frames up to 4k + 1.
@pytest.mark.parametrize("frames, made", [(1, 1), (13, 13), (16, 17), (17, 17)])
class TestFrames:
    def test_text_to_video(self, frames, made):
        pipeline = text_to_video()
        video = run(pipeline, num_frames=frames, **TEXT, **SIZE)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
        other = run(pipeline, num_frames=frames, **{**TEXT, "prompt": "the video"}, **SIZE)
        assert not torch.equal(video, other)  # the text arrives

    def test_known_latents_are_decoded(self, frames, made):
        pipeline = text_to_video()
        latents = noise(1, CHANNELS, (made + 3) // 4, HEIGHT // 16, COLUMNS // 16)
        with standing_still(pipeline):
            video = run(pipeline, latents=latents, num_frames=frames, **TEXT, **SIZE)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
        assert_same(video, as_shown(pipeline.vae.decode(denormalized(pipeline.vae, latents)).sample))

    @pytest.mark.parametrize("first_frame", ["kept", "shown"])
    def test_image_to_video(self, frames, made, first_frame):
        pipeline = image_to_video(first_frame)
        image = pixels(1, 3, HEIGHT, COLUMNS)
        video = run(pipeline, image=image, num_frames=frames, **TEXT, **SIZE)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
        other = run(pipeline, image=1 - image, num_frames=frames, **TEXT, **SIZE)
        assert not torch.equal(video, other)  # the image arrives

    def test_video_to_video(self, frames, made):
        pipeline = video_to_video()
        # A video is not filled up but encoded as it is; 16 frames are four latent frames, which come back as 13.
        made = {16: 13}.get(frames, made)
        source = list(pixels(frames, HEIGHT, COLUMNS, 3).numpy())
        arguments = {"video": source, "strength": 0.5, "num_inference_steps": 4, **TEXT, **SIZE}
        if frames == 16:
            with pytest.warns(UserWarning, match="16 frames will be decoded to 13"):
                video = run(pipeline, **arguments)
        else:
            video = run(pipeline, **arguments)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)


def test_first_latent_frame_is_the_image():
    pipeline = image_to_video("kept")
    image = pixels(1, 3, HEIGHT, COLUMNS)
    latents = run(pipeline, image=image, num_frames=17, output_type="latent", **TEXT, **SIZE)
    assert latents.shape == (1, CHANNELS, 5, HEIGHT // 16, COLUMNS // 16)
    encoded = pipeline.vae.encode(2 * image[:, :, None] - 1).latent_dist.mode()
    assert_same(latents[:, :, :1], normalized(pipeline.vae, encoded))
    video = run(pipeline, image=image, num_frames=17, **TEXT, **SIZE)
    assert_same(video, as_shown(pipeline.vae.decode(denormalized(pipeline.vae, latents)).sample))


def test_last_image():
    pipeline = make(
        diffusers.WanImageToVideoPipeline,
        image_encoder=None,
        image_processor=None,
        transformer=transformer(2 * CHANNELS + 4),
    )
    images = {"image": pixels(1, 3, HEIGHT, COLUMNS), "last_image": pixels(1, 3, HEIGHT, COLUMNS, seed=7)}
    video = run(pipeline, num_frames=17, **images, **TEXT, **SIZE)
    assert_pictures(video, 1, 17, 3, HEIGHT, COLUMNS)


def test_video_to_video_starts_from_the_encoded_video():
    pipeline = video_to_video()
    source = pixels(17, HEIGHT, COLUMNS, 3)
    arguments = {"video": list(source.numpy()), "strength": 0.5, "num_inference_steps": 4, **TEXT, **SIZE}
    with standing_still(pipeline):
        latents = run(pipeline, output_type="latent", **arguments)
    encoded = pipeline.vae.encode(2 * source.movedim(-1, 0)[None] - 1).latent_dist.mode()
    pipeline.scheduler.set_timesteps(4)
    start = pipeline.scheduler.timesteps[2:3]
    expected = pipeline.scheduler.scale_noise(normalized(pipeline.vae, encoded), start, noise(*encoded.shape, seed=0))
    assert_same(latents, expected)


def test_slicing_and_tiling():
    check_slicing_and_tiling(text_to_video(), num_videos_per_prompt=2, num_frames=17, **TEXT, **SIZE)


def test_tiling_when_encoding():
    pipeline = video_to_video()
    arguments = {"video": list(pixels(33, HEIGHT, COLUMNS, 3).numpy()), "strength": 0.5, **TEXT, **SIZE}
    expected = run(pipeline, **arguments)
    pipeline.vae.enable_tiling()
    pipeline.vae.enable_slicing()
    assert_same(run(pipeline, **arguments), expected)


@pytest.mark.parametrize("kind", ["text", "kept", "shown", "video"])
def test_saved_and_loaded(kind, tmp_path):
    image, source = pixels(1, 3, HEIGHT, COLUMNS), list(pixels(5, HEIGHT, COLUMNS, 3).numpy())
    pipeline, arguments = {
        "text": lambda: (text_to_video(), {"num_frames": 5}),
        "kept": lambda: (image_to_video("kept"), {"num_frames": 5, "image": image}),
        "shown": lambda: (image_to_video("shown"), {"num_frames": 5, "image": image}),
        "video": lambda: (video_to_video(), {"video": source}),
    }[kind]()
    check_saved_and_loaded(pipeline, tmp_path, **arguments, **TEXT, **SIZE)


@pytest.mark.parametrize("device", DEVICES)
def test_offloading(device):
    check_offloading(text_to_video, device, num_frames=5, **TEXT, **SIZE)


@pytest.mark.parametrize("device", DEVICES)
def test_offloading_when_encoding(device):
    source = list(pixels(5, HEIGHT, COLUMNS, 3).numpy())
    check_offloading(video_to_video, device, video=source, **TEXT, **SIZE)


def test_bfloat16():
    pipeline = text_to_video().to(torch.bfloat16)
    video = run(pipeline, num_frames=5, **TEXT, **SIZE)
    assert video.dtype == torch.bfloat16
    assert_pictures(video.float(), 1, 5, 3, HEIGHT, COLUMNS)


def test_example(capsys):
    names = runpy.run_path(str(Path(__file__).parents[3] / "examples/swap_vae_in_wan.py"))
    assert "17 frames asked for: (1, 17, 3, 64, 96)" in capsys.readouterr().out
    assert_same(names["actual"], names["expected"])
