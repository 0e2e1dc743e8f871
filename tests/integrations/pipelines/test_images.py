"""AutoencoderAtoken in the pipelines of DiT, Stable Diffusion 3 and Flux."""

import pytest
import torch

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
    make_vae,
    noise,
    pixels,
    run,
    standing_still,
    t5,
    tokenizer,
)

TEXT = {"prompt": PROMPT, "max_sequence_length": 12}


def dit():
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=4,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    scheduler = diffusers.DDIMScheduler()
    return diffusers.DiTPipeline(transformer=draw(transformer, std=0.05), vae=make_vae(), scheduler=scheduler)


def stable_diffusion_3(kind: type = diffusers.StableDiffusion3Pipeline):
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=CHANNELS,
    )
    return kind(
        vae=make_vae(),
        transformer=draw(transformer),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=clip(projection=True),
        tokenizer=tokenizer(77),
        text_encoder_2=clip(projection=True),
        tokenizer_2=tokenizer(77),
        text_encoder_3=t5(width=2 * WIDTH),
        tokenizer_3=tokenizer(),
    )


def flux(kind: type = diffusers.FluxPipeline):
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    return kind(
        vae=make_vae(),
        transformer=draw(transformer),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=clip(),
        tokenizer=tokenizer(77),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
    )


# How to make the pipeline, and its image-to-image form.
FAMILIES = {
    "sd3": (stable_diffusion_3, diffusers.StableDiffusion3Img2ImgPipeline),
    "flux": (flux, diffusers.FluxImg2ImgPipeline),
}
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def as_given(family: str, latents: torch.Tensor) -> torch.Tensor:
    """Latents (B, C, h, w) as the family's pipeline takes and returns them."""
    if family != "flux":
        return latents
    batch, channels, rows, columns = latents.shape
    squares = latents.view(batch, channels, rows // 2, 2, columns // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(batch, rows // 2 * (columns // 2), 4 * channels)


@FAMILY
class TestTextToImage:
    def test_size(self, family):
        pipeline = FAMILIES[family][0]()
        images = run(pipeline, num_images_per_prompt=2, **TEXT, **SIZE)
        assert_pictures(images, 2, 3, HEIGHT, COLUMNS)
        other = run(pipeline, num_images_per_prompt=2, **{**TEXT, "prompt": "snow"}, **SIZE)
        assert not images.equal(other)  # the text arrives

    def test_known_latents_are_decoded(self, family):
        pipeline = FAMILIES[family][0]()
        latents = noise(1, CHANNELS, HEIGHT // 16, COLUMNS // 16)
        with standing_still(pipeline):
            images = run(pipeline, latents=as_given(family, latents), **TEXT, **SIZE)
        assert_pictures(images, 1, 3, HEIGHT, COLUMNS)
        config = pipeline.vae.config
        expected = pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
        assert_same(images, as_shown(expected))

    def test_slicing_and_tiling(self, family):
        check_slicing_and_tiling(FAMILIES[family][0](), num_images_per_prompt=2, **TEXT, **SIZE)

    def test_saved_and_loaded(self, family, tmp_path):
        check_saved_and_loaded(FAMILIES[family][0](), tmp_path, **TEXT, **SIZE)

    @pytest.mark.parametrize("device", DEVICES)
    def test_offloading(self, family, device):
        check_offloading(FAMILIES[family][0], device, **TEXT, **SIZE)


@FAMILY
class TestImageToImage:
    def test_starts_from_the_encoded_image(self, family):
        make, kind = FAMILIES[family]
        pipeline, image = make(kind), pixels(1, 3, HEIGHT, COLUMNS)
        arguments = {"image": image, "strength": 0.5, "num_inference_steps": 4, **TEXT, **SIZE}
        assert_pictures(run(pipeline, **arguments), 1, 3, HEIGHT, COLUMNS)
        with standing_still(pipeline):
            latents = run(pipeline, output_type="latent", **arguments)
        generator, config = torch.Generator().manual_seed(0), pipeline.vae.config
        drawn = pipeline.vae.encode(2 * image - 1).latent_dist.sample(generator)
        start = (drawn - config.shift_factor) * config.scaling_factor
        level = pipeline.scheduler.sigmas[2]  # where the second half of the four steps begins
        expected = (1 - level) * start + level * torch.randn(start.shape, generator=generator)
        assert_same(latents, as_given(family, expected))

    def test_saved_and_loaded(self, family, tmp_path):
        make, kind = FAMILIES[family]
        image = pixels(1, 3, HEIGHT, COLUMNS)
        check_saved_and_loaded(make(kind), tmp_path, image=image, strength=0.5, **TEXT, **SIZE)

    def test_slicing_when_encoding(self, family):
        make, kind = FAMILIES[family]
        pipeline = make(kind)
        arguments = {"image": pixels(2, 3, HEIGHT, COLUMNS), "strength": 0.5, "prompt": [PROMPT, "snow"], **SIZE}
        expected = run(pipeline, **arguments, max_sequence_length=12)
        pipeline.vae.enable_slicing()
        assert_same(run(pipeline, **arguments, max_sequence_length=12), expected)


class TestDiT:
    def test_latents_are_decoded(self, monkeypatch):
        pipeline, seen = dit(), []
        decode = pipeline.vae.decode
        monkeypatch.setattr(pipeline.vae, "decode", lambda latents: seen.append(latents) or decode(latents))
        images = run(pipeline, class_labels=[1, 7])
        assert_pictures(images, 2, 3, 64, 64)
        assert seen[0].shape == (2, CHANNELS, 4, 4) and not seen[0][0].equal(seen[0][1])
        assert_same(images, as_shown(decode(seen[0]).sample))

    def test_as_arrays(self):
        images = run(dit(), class_labels=[1], output_type="np")
        assert images.shape == (1, 64, 64, 3)
        assert_same(torch.from_numpy(images).movedim(-1, 1), run(dit(), class_labels=[1]))

    def test_slicing_and_tiling(self):
        check_slicing_and_tiling(dit(), class_labels=[1, 7])

    def test_saved_and_loaded(self, tmp_path):
        check_saved_and_loaded(dit(), tmp_path, class_labels=[1])

    @pytest.mark.parametrize("device", DEVICES)
    def test_offloading(self, device):
        check_offloading(dit, device, class_labels=[1])
