"""Images and videos of texts: sizes, steps against formulas, items that do not depend on their batch, files, LoRA."""

import math

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from transformers import T5Config, T5EncoderModel

from atoken.generation import TextCondition, TextToMediaPipeline, text_to_media_transformer
from atoken.generation.media_sampling_atoken import media_sampling, time_shift
from atoken.generation.text_conditions_atoken import encode_texts

from .media_helpers import IMAGE_STATISTICS, VIDEO_STATISTICS, media_pipeline, media_transformer, seeds, text_tower

TEXTS = ["a star", "a striped red circle in the top left", "something blue"]
FRAMES = {"image": 1, "video": 8}


def latents_of(pipeline, texts, frames=1, **options) -> torch.Tensor:
    made = pipeline(texts, frames, output_type="latent", **options)
    return made.images if frames == 1 else made.frames


@pytest.mark.parametrize(("preset", "millions"), [("tiny", "9.0"), ("small", "278.3"), ("base", "952.2")])
def test_sizes_are_those_of_the_page(preset, millions):
    with torch.device("meta"):
        model = text_to_media_transformer(preset)
    assert f"{model.num_parameters() / 1e6:.1f}" == millions
    assert model.config.in_channels == model.config.out_channels == 48


def test_shifts_are_those_of_the_page():
    assert time_shift(256, 1) == 1 and time_shift(4096, 1) == 3
    assert time_shift(252, 20) == pytest.approx((1 + 2 * (252 - 256) / 3840) * math.sqrt(20))


def test_settings_that_nobody_gives_are_the_papers():
    image, video = (media_sampling(frames) for frames in (1, 20))
    assert (image.height, image.width, image.guidance_scale) == (256, 256, 4.5)
    assert (video.height, video.width, video.guidance_scale) == (192, 336, 9.0)
    assert image.num_inference_steps == video.num_inference_steps == 50


@pytest.mark.parametrize("kind", FRAMES)
def test_an_item_is_the_same_alone_and_in_a_batch(kind):
    pipeline, frames = media_pipeline(), FRAMES[kind]
    together = latents_of(pipeline, TEXTS, frames, generator=seeds(0, 1, 2))
    assert together.shape == (3, 4, 1 if kind == "image" else 2, 2, 3)
    for index in (0, 2):
        alone = latents_of(pipeline, TEXTS[index], frames, generator=seeds(index))
        assert float((alone[0] - together[index]).abs().max()) <= 1e-4


@pytest.mark.parametrize("kind", FRAMES)
def test_steps_are_those_of_the_formula(kind):
    """Euler from noise at time 1 to data at 0, on shifted times, v = v_null + g (v_text - v_null), in float64."""
    pipeline, frames = media_pipeline(), FRAMES[kind]
    text, null = pipeline.encode_prompt(TEXTS), pipeline.encode_prompt([""]).repeated(3)
    noise = torch.randn(3, 4, 1 if kind == "image" else 2, 2, 3, generator=torch.Generator().manual_seed(0))
    shift, steps, scale = time_shift(6, noise.shape[2]), 5, 3.0
    even = [1 - step / steps for step in range(steps + 1)]
    times, data = [shift * u / (1 + (shift - 1) * u) for u in even], noise.double()
    for before, after in zip(times, times[1:], strict=False):
        with torch.no_grad():
            with_text, without = (
                pipeline.transformer(
                    data.float(), torch.full((3,), 1000 * before), each.embeds, each.mask, each.pooled
                ).sample.double()
                for each in (text, null)
            )
        data = data + (after - before) * (without + scale * (with_text - without))
    found = latents_of(pipeline, TEXTS, frames, latents=noise, num_inference_steps=steps)
    assert float((found - data).abs().max()) <= 1e-4


def test_guidance_runs_where_it_is_asked_for():
    pipeline, lengths = media_pipeline(), []
    pipeline.transformer.register_forward_pre_hook(
        lambda _, given: lengths.append((float(given[1][0]), given[2].shape))
    )
    latents_of(pipeline, "a star", guidance_scale=1.0)
    assert len(lengths) == 3
    lengths.clear()
    latents_of(pipeline, "a star", num_inference_steps=10, guidance_interval=(0.5, 1.0), shift=1.0)
    # The empty text has a token.
    assert [time for time, shape in lengths if shape[1] == 1] == pytest.approx([1000, 900, 800, 700, 600, 500])


def test_each_item_is_led_away_from_its_own_negative_prompt():
    pipeline, negatives = media_pipeline(), ["blurry", "a striped red circle"]
    together = latents_of(pipeline, TEXTS[:2], negative_prompt=negatives, generator=seeds(0, 1))
    for index, text in enumerate(negatives):
        alone = latents_of(pipeline, TEXTS[index], negative_prompt=text, generator=seeds(index))
        assert float((alone[0] - together[index]).abs().max()) <= 1e-4
    one = latents_of(pipeline, TEXTS[:2], negative_prompt=negatives[:1], generator=seeds(0, 1))
    assert float((one[0] - together[0]).abs().max()) <= 1e-4 and not torch.equal(one[1], together[1])


def test_no_negative_prompt_is_the_empty_one():
    pipeline = media_pipeline()
    left_out, none, empty = (
        latents_of(pipeline, "a star", generator=seeds(0), **options)
        for options in ({}, {"negative_prompt": None}, {"negative_prompt": ""})
    )
    assert torch.equal(left_out, none) and torch.equal(none, empty)


def test_rescaled_guidance_has_the_deviation_of_none():
    pipeline = media_pipeline()
    options = {"num_inference_steps": 1, "latents": torch.randn(1, 4, 1, 2, 3)}
    plain, rescaled = (
        latents_of(pipeline, "a star", **options, **each)
        for each in ({"guidance_scale": 1.0}, {"guidance_scale": 6.0, "guidance_rescale": 1.0})
    )
    assert float(plain.std()) == pytest.approx(float(rescaled.std()), rel=1e-3)


def test_filling_behind_a_text_changes_nothing():
    pipeline = media_pipeline()
    condition = pipeline.encode_prompt(TEXTS[:1])
    filled = TextCondition(
        torch.cat([condition.embeds, torch.full((1, 5, 96), 7.0)], dim=1),
        torch.cat([condition.mask, torch.zeros(1, 5, dtype=torch.bool)], dim=1),
        condition.pooled,
    )
    first, second = (latents_of(pipeline, None, condition=each, generator=seeds(0)) for each in (condition, filled))
    assert float((first - second).abs().max()) <= 1e-5


@pytest.mark.parametrize("kind", FRAMES)
def test_each_kind_is_decoded_with_statistics_of_its_own(kind):
    pipeline, frames = media_pipeline(), FRAMES[kind]
    statistics = IMAGE_STATISTICS if kind == "image" else VIDEO_STATISTICS
    mean, std = (torch.tensor(statistics[name])[:, None, None, None] for name in ("mean", "std"))
    normalized = latents_of(pipeline, TEXTS[:2], frames, generator=seeds(0, 1))
    whole = normalized * std + mean
    with torch.no_grad():
        if kind == "image":
            expected = pipeline.vae.decode(whole[:, :, 0]).sample
        else:
            expected = pipeline.vae.decode(whole, num_frames=8).sample.transpose(1, 2)
    made = pipeline(TEXTS[:2], frames, generator=seeds(0, 1), output_type="pt")
    found = made.images if kind == "image" else made.frames
    assert found.shape == ((2, 3, 32, 48) if kind == "image" else (2, 8, 3, 32, 48))
    assert float((found - (expected / 2 + 0.5).clamp(0, 1)).abs().max()) < 1e-5


def test_kinds_of_output():
    pipeline = media_pipeline()
    made = {name: pipeline("a star", 8, generator=seeds(0), output_type=name).frames for name in ("pil", "np", "pt")}
    assert len(made["pil"]) == 1 and len(made["pil"][0]) == 8 and made["pil"][0][0].size == (48, 32)
    assert made["np"].shape == (1, 8, 32, 48, 3)
    assert np.abs(made["np"] - made["pt"].permute(0, 1, 3, 4, 2).numpy()).max() < 1e-6
    (images,) = pipeline("a star", generator=seeds(0), return_dict=False)
    assert images[0].size == (48, 32)


@pytest.mark.parametrize("loader", [TextToMediaPipeline, DiffusionPipeline])
def test_after_save_and_load(loader, tmp_path):
    pipeline = media_pipeline()
    first = latents_of(pipeline, TEXTS, 8, generator=seeds(0, 1, 2))
    pipeline.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is TextToMediaPipeline
    assert loaded.config.video_statistics == VIDEO_STATISTICS
    assert float((latents_of(loaded, TEXTS, 8, generator=seeds(0, 1, 2)) - first).abs().max()) <= 1e-5


def test_with_weights_offloaded():
    from accelerate import cpu_offload

    pipeline = media_pipeline()
    first = pipeline("a star", 8, generator=seeds(3), output_type="pt").frames
    for name in ("transformer", "vae"):
        cpu_offload(getattr(pipeline, name), torch.device("cpu"), offload_buffers=True)
    again = pipeline("a star", 8, generator=seeds(3), output_type="pt").frames
    assert float((first - again).abs().max()) <= 1e-4


def test_lora_weights_are_loaded_as_into_any_pipeline(tmp_path):
    from peft import LoraConfig, get_peft_model_state_dict

    trained = media_transformer()
    trained.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=["to_q"], init_lora_weights=False))
    TextToMediaPipeline.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(trained),
        transformer_lora_adapter_metadata=trained.peft_config["default"].to_dict(),
    )
    expected = latents_of(media_pipeline(trained), "a star", generator=seeds(0))
    pipeline = media_pipeline()
    before = latents_of(pipeline, "a star", generator=seeds(0))
    pipeline.load_lora_weights(tmp_path)
    found = latents_of(pipeline, "a star", generator=seeds(0))
    assert float((found - expected).abs().max()) <= 1e-5 and float((found - before).abs().max()) > 1e-3
    pipeline.unload_lora_weights()
    assert float((latents_of(pipeline, "a star", generator=seeds(0)) - before).abs().max()) <= 1e-5


def test_texts_are_encoded_to_their_own_length():
    encoder, tokenizer = text_tower()
    condition = encode_texts(["", *TEXTS], tokenizer, encoder)
    lengths = [len(tokenizer(text)["input_ids"]) for text in ["", *TEXTS]]
    assert condition.mask.sum(1).tolist() == lengths and condition.embeds.shape[1] == max(lengths)
    assert lengths[0] == 1 and not condition.embeds[~condition.mask].any()
    # As the tower was trained: filled up to its length, without a mask.
    ids = tokenizer(TEXTS[0], padding="max_length", max_length=16, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = encoder(input_ids=ids)
    torch.testing.assert_close(condition.embeds[1, : lengths[1]], output.last_hidden_state[0, : lengths[1]])
    torch.testing.assert_close(condition.pooled[1], output.pooler_output[0])


def test_an_other_encoder_of_transformers():
    """T5 sees a mask, and the vector is the mean of its states, or that of a second encoder."""
    tower, tokenizer = text_tower()
    torch.manual_seed(0)
    encoder = T5EncoderModel(
        T5Config(vocab_size=56, d_model=24, d_kv=12, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0)
    ).eval()
    with torch.no_grad():
        together, alone = (encode_texts(texts, tokenizer, encoder) for texts in (TEXTS, TEXTS[:1]))
        length = int(alone.mask.sum())
        torch.testing.assert_close(together.embeds[0, :length], alone.embeds[0])
        torch.testing.assert_close(together.pooled[0], alone.embeds[0].mean(0))
        both = encode_texts(TEXTS, tokenizer, encoder, tokenizer, tower)
    assert both.embeds.shape[-1] == 24 and both.pooled.shape == (3, 192)
    transformer = media_transformer(text_embed_dim=24)
    pipeline = media_pipeline(transformer, text_encoder=encoder, text_encoder_2=tower, tokenizer_2=tokenizer)
    assert latents_of(pipeline, "a star").isfinite().all()


def test_a_condition_instead_of_a_text():
    pipeline = media_pipeline()
    condition, null = pipeline.encode_prompt(TEXTS[:2]), pipeline.encode_prompt([""])
    expected = latents_of(pipeline, TEXTS[:2], generator=seeds(0, 1))
    bare = media_pipeline(text_encoder=None, tokenizer=None)
    found = latents_of(bare, None, condition=condition, negative_condition=null, generator=seeds(0, 1))
    assert torch.equal(found, expected)


def test_callbacks_see_and_change_latents():
    pipeline, steps = media_pipeline(), []

    def zero(pipeline, step, time, tensors):
        steps.append(step)
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else None

    assert not latents_of(pipeline, "a star", callback_on_step_end=zero).any() and steps == [0, 1, 2]
