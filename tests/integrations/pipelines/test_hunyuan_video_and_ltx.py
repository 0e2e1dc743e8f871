"""AutoencoderAtoken in the pipelines of HunyuanVideo and LTX."""

import pytest

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
    clip,
    diffusers,
    draw,
    llama,
    make_vae,
    noise,
    pixels,
    run,
    standing_still,
    t5,
    tokenizer,
)

# HunyuanVideo cuts the template's own tokens off: <s> and four words.
HUNYUAN_TEXT = {
    "prompt": PROMPT,
    "prompt_template": {"template": "describe the video : {}", "crop_start": 5},
    "max_sequence_length": 12,
}
LTX_TEXT = {"prompt": PROMPT, "negative_prompt": "snow", "max_sequence_length": 12}
# Neither rounds the number of frames: 16 frames are four latent frames, which decode to 13.
FRAMES = pytest.mark.parametrize("frames, made", [(1, 1), (13, 13), (16, 13), (17, 17)])


def hunyuan_video():
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        text_embed_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        rope_axes_dim=(2, 4, 4),
    )
    return diffusers.HunyuanVideoPipeline(
        vae=make_vae(),
        transformer=draw(transformer),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=llama(),
        tokenizer=tokenizer(),
        text_encoder_2=clip(),
        tokenizer_2=tokenizer(77),
    )


def ltx(kind: type = diffusers.LTXPipeline):
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=WIDTH,
    )
    return kind(
        vae=make_vae(),
        transformer=draw(transformer),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )


def latents_of(frames: int):
    return noise(1, CHANNELS, (frames + 3) // 4, HEIGHT // 16, COLUMNS // 16)


def ltx_denormalized(vae, latents):
    """LTX uses the statistics of the channels and the single factor, both."""
    return latents * vae.latents_std.view(-1, 1, 1, 1) / vae.config.scaling_factor + vae.latents_mean.view(-1, 1, 1, 1)


def check_frames(pipeline, text, frames, made):
    """The video has as many frames as it should, and other words make another one."""
    video = run(pipeline, num_frames=frames, **text, **SIZE)
    assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
    assert not video.equal(run(pipeline, num_frames=frames, **{**text, "prompt": "snow"}, **SIZE))


class TestHunyuanVideo:
    @FRAMES
    def test_frames(self, frames, made):
        check_frames(hunyuan_video(), HUNYUAN_TEXT, frames, made)

    @FRAMES
    def test_known_latents_are_decoded(self, frames, made):
        pipeline, latents = hunyuan_video(), latents_of(frames)
        with standing_still(pipeline):
            video = run(pipeline, latents=latents, num_frames=frames, **HUNYUAN_TEXT, **SIZE)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
        vae = pipeline.vae
        assert_same(video, as_shown(vae.decode(latents / vae.config.scaling_factor).sample))

    def test_slicing_and_tiling(self):
        check_slicing_and_tiling(hunyuan_video(), num_videos_per_prompt=2, num_frames=17, **HUNYUAN_TEXT, **SIZE)

    def test_saved_and_loaded(self, tmp_path):
        check_saved_and_loaded(hunyuan_video(), tmp_path, num_frames=5, **HUNYUAN_TEXT, **SIZE)

    @pytest.mark.parametrize("device", DEVICES)
    def test_offloading(self, device):
        check_offloading(hunyuan_video, device, num_frames=5, **HUNYUAN_TEXT, **SIZE)


class TestLTX:
    @FRAMES
    def test_frames(self, frames, made):
        check_frames(ltx(), LTX_TEXT, frames, made)

    @FRAMES
    def test_known_latents_are_decoded(self, frames, made):
        pipeline, latents = ltx(), latents_of(frames)
        packed = latents.flatten(2).transpose(1, 2)
        with standing_still(pipeline):
            video = run(pipeline, latents=packed, num_frames=frames, **LTX_TEXT, **SIZE)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
        assert_same(video, as_shown(pipeline.vae.decode(ltx_denormalized(pipeline.vae, latents)).sample))

    @FRAMES
    def test_image_to_video(self, frames, made):
        pipeline, image = ltx(diffusers.LTXImageToVideoPipeline), pixels(1, 3, HEIGHT, COLUMNS)
        video = run(pipeline, image=image, num_frames=frames, **LTX_TEXT, **SIZE)
        assert_pictures(video, 1, made, 3, HEIGHT, COLUMNS)
        packed = run(pipeline, image=image, num_frames=frames, output_type="latent", **LTX_TEXT, **SIZE)
        latents = packed.transpose(1, 2).view_as(latents_of(frames))
        assert_same(video, as_shown(pipeline.vae.decode(ltx_denormalized(pipeline.vae, latents)).sample))

    def test_slicing_and_tiling(self):
        check_slicing_and_tiling(ltx(), num_videos_per_prompt=2, num_frames=17, **LTX_TEXT, **SIZE)

    @pytest.mark.parametrize("kind", ["text", "image"])
    def test_saved_and_loaded(self, kind, tmp_path):
        pipeline, arguments = ltx(), {}
        if kind == "image":
            pipeline = ltx(diffusers.LTXImageToVideoPipeline)
            arguments = {"image": pixels(1, 3, HEIGHT, COLUMNS)}
        check_saved_and_loaded(pipeline, tmp_path, num_frames=5, **arguments, **LTX_TEXT, **SIZE)

    @pytest.mark.parametrize("device", DEVICES)
    def test_offloading(self, device):
        check_offloading(ltx, device, num_frames=5, **LTX_TEXT, **SIZE)
