"""Bad input of the generator of images and videos: each is an error that names the argument."""

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from atoken.generation import TextCondition, TextToMediaPipeline, text_to_media_transformer

from .helpers import autoencoder
from .media_helpers import IMAGE_STATISTICS, media_pipeline, media_transformer, text_tower


@pytest.fixture(scope="module")
def pipeline():
    return media_pipeline()


def condition(**changes) -> TextCondition:
    values = {
        "embeds": torch.zeros(1, 3, 96),
        "mask": torch.ones(1, 3, dtype=torch.bool),
        "pooled": torch.zeros(1, 192),
    }
    return TextCondition(**{**values, **changes})


def conditions(count: int) -> TextCondition:
    return condition().repeated(count)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": None}, "prompt must be given, or condition instead"),
        ({"condition": condition()}, "prompt must be given, or condition instead of it, but not both"),
        ({"prompt": []}, "prompt must be a text or a list of texts"),
        ({"prompt": 3}, "prompt must be a text or a list of texts"),
        ({"prompt": ["a star", None]}, "prompt must be a text or a list of texts"),
        ({"prompt": "star " * 30}, "prompt must have at most 16 tokens.*got 31 in"),
        ({"num_frames": 0}, "num_frames must be 1 for images, or a multiple of 4 from 8 on"),
        ({"num_frames": 4}, "num_frames must be 1 for images, or a multiple of 4 from 8 on.*got 4"),
        ({"num_frames": 17}, "num_frames must be 1 for images.*got 17"),
        ({"num_frames": 8.0}, "num_frames must be 1 for images.*got 8.0"),
        ({"num_frames": True}, "num_frames must be 1 for images.*got True"),
        ({"height": 40}, "height must be a multiple of 16 pixels, got 40"),
        ({"width": 0}, "width must be a multiple of 16 pixels, got 0"),
        ({"num_inference_steps": 0}, "num_inference_steps must be at least 1"),
        ({"guidance_scale": -1.0}, "guidance_scale must be at least 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be at least 0"),
        ({"guidance_rescale": 2.0}, "guidance_rescale must be from 0 to 1"),
        ({"guidance_interval": (0.7, 0.2)}, "guidance_interval must be two rising times"),
        ({"shift": -3.0}, "shift must be above 0"),
        ({"generator": [torch.Generator()] * 3}, "generator must be one, or a list of 1"),
        ({"latents": torch.zeros(1, 4, 2, 3)}, r"latents must be \(1, 4, 1, 2, 3\)"),
        ({"latents": torch.zeros(1, 4, 1, 2, 3, dtype=torch.int64)}, "latents must be .* and floating point"),
        ({"output_type": "mp4"}, "output_type must be"),
        ({"prompt": None, "condition": condition(embeds=torch.zeros(1, 3, 5))}, "condition must have embeds of 96"),
        ({"prompt": None, "condition": condition(pooled=torch.zeros(1, 7))}, "condition must have pooled of 192"),
        (
            {"prompt": None, "condition": condition(mask=torch.ones(1, 2, dtype=torch.bool))},
            r"condition must have a mask of shape \(1, 3\)",
        ),
        (
            {"prompt": None, "condition": condition(mask=torch.zeros(1, 3, dtype=torch.bool))},
            "condition must have at least one token of each text",
        ),
        (
            {"prompt": None, "condition": condition(mask=torch.tensor([[True, False, True]]))},
            "condition must have .* its padding on the right",
        ),
        ({"negative_condition": condition(pooled=torch.zeros(1, 7))}, "negative_condition must have pooled of 192"),
        ({"negative_prompt": 3}, "negative_prompt must be a text or a list of texts, got 3"),
        ({"negative_prompt": []}, "negative_prompt must be a text or a list of texts"),
        ({"negative_prompt": ["ugly", None]}, "negative_prompt must be a text or a list of texts"),
        ({"negative_prompt": ["ugly"] * 3}, "negative_prompt must be one, or 1, one for each item that is made, got 3"),
        (
            {"prompt": ["a star"] * 2, "negative_condition": conditions(3)},
            "negative_condition must be one, or 2, one for each item that is made, got 3",
        ),
        (
            {"prompt": None, "condition": conditions(2), "negative_condition": conditions(3)},
            "negative_condition must be one, or 2",
        ),
        (
            {"negative_prompt": "ugly", "negative_condition": condition()},
            "negative_prompt must be left out where negative_condition is given",
        ),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, r"must be a list of names among latents, got \['noise'\]"),
        ({"callback_on_step_end_tensor_inputs": "latents"}, "must be a list of names among latents, got 'latents'"),
    ],
)
def test_calls(pipeline, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline(**{"prompt": "a star", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_encoder": None}, "text_encoder and tokenizer must be given together"),
        ({"image_statistics": {"mean": [0.0] * 4}}, "image_statistics must be a mapping with mean and std"),
        ({"image_statistics": {"mean": [0.0], "std": [1.0] * 4}}, "image_statistics must have 4 values of mean"),
        (
            {"video_statistics": {"mean": [0.0] * 4, "std": [1.0, 0.0, 1.0, 1.0]}},
            "video_statistics must have finite values, of std above 0",
        ),
        ({"vae_statistics": {"mean": [5.0] * 4, "std": [1.0] * 4}}, "vae must be the autoencoder that the transformer"),
        ({"vae_statistics": {}}, "vae_statistics must be a mapping with mean and std"),
        ({"image_sampling": {"steps": 3}}, "image_sampling must have the settings height, width"),
        ({"video_sampling": {"guidance_rescale": 3.0}}, "guidance_rescale must be from 0 to 1"),
    ],
)
def test_parts_and_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        media_pipeline(**options)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"vae": lambda: autoencoder(channels=6)}, "vae must have the transformer's 4 latent channels, got 6"),
        ({"scheduler": DDIMScheduler}, "scheduler must take sigmas"),
        ({"transformer": lambda: media_transformer(patch_size_t=2)}, "transformer must have patch_size_t"),
        ({"transformer": lambda: media_transformer(text_embed_dim=64)}, "text_encoder must give states of 64"),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    encoder, tokenizer = text_tower()
    makers = {"transformer": media_transformer, "vae": autoencoder, "scheduler": FlowMatchEulerDiscreteScheduler}
    made = {name: make() for name, make in {**makers, **parts}.items()}
    with pytest.raises(ValueError, match=message):
        TextToMediaPipeline(**made, text_encoder=encoder, tokenizer=tokenizer)


@pytest.mark.parametrize(("frames", "kind"), [(1, "image"), (8, "video")])
def test_statistics_that_are_missing(frames, kind):
    pipeline = media_pipeline(image_statistics=None, video_statistics=None)
    with pytest.raises(ValueError, match=f"the pipeline must have {kind}_statistics to decode {kind}s, got none"):
        pipeline("a star", frames)
    pipeline("a star", frames, output_type="latent", num_inference_steps=1)


def test_texts_for_a_pipeline_without_an_encoder():
    pipeline = media_pipeline(text_encoder=None, tokenizer=None, image_statistics=IMAGE_STATISTICS)
    with pytest.raises(ValueError, match="prompt must be left out of a pipeline without text_encoder"):
        pipeline("a star")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "huge"}, "preset must be one of tiny, small, base"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"rope_axes_dim": (8, 8, 8)}, "rope_axes_dim must be three even numbers that add up"),
        ({"width": 3}, "options must be arguments of HunyuanVideoTransformer3DModel"),
    ],
)
def test_transformers(options, message):
    with pytest.raises(ValueError, match=message):
        text_to_media_transformer(**{"preset": "tiny", **options})
