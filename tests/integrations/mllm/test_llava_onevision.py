"""AtokenVisionModel as the tower of LLaVA-OneVision: videos frame by frame, images as a picture and its parts."""

import numpy as np
import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from atoken import AtokenVisionModel

from .parts import IMAGE, SIDE, VIDEO, llava_onevision, onevision_processor

PATCHES = SIDE // 16


def clip(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)


def video_inputs(frames: int = 5, seed: int = 0):
    text = ["what is in <video> ?"]
    return onevision_processor()(videos=[clip(frames, seed)], text=text, return_tensors="pt")


def image_inputs():
    text = ["what is in <image> ?"]
    return onevision_processor()(images=[clip(1)[0]], text=text, return_tensors="pt")


@pytest.mark.parametrize("frames", [1, 5, 8])
@torch.no_grad()
def test_video(frames):
    model, inputs = llava_onevision(), video_inputs(frames)
    assert inputs.pixel_values_videos.shape == (1, frames, 3, SIDE, SIDE)
    # Each frame is pooled to half as many rows and columns, and the video ends with one token of its own.
    tokens = frames * (PATCHES // 2) ** 2 + 1
    assert (inputs.input_ids == VIDEO).sum() == tokens
    output = model(**inputs)
    assert output.logits.shape == (*inputs.input_ids.shape, model.config.text_config.vocab_size)
    assert output.logits.isfinite().all() and output.video_hidden_states.shape[0] == tokens

    tower = model.model.vision_tower
    assert type(tower) is AtokenVisionModel
    states = tower(inputs.pixel_values_videos[0], output_hidden_states=True).hidden_states[-1]
    grid = model.model.multi_modal_projector(states).unflatten(1, (PATCHES, PATCHES)).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.interpolate(grid, size=(PATCHES // 2, PATCHES // 2), mode="bilinear")
    expected = pooled.permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(output.video_hidden_states[:-1], expected, atol=1e-5, rtol=0)
    other = model(**video_inputs(frames, seed=1)).logits
    assert (other - output.logits).abs().max() > 1e-3


@torch.no_grad()
def test_image():
    """The whole picture, and the picture at twice the width with an end of line after every row."""
    model, inputs = llava_onevision(), image_inputs()
    output = model(**inputs)
    assert output.image_hidden_states.shape[0] == (inputs.input_ids == IMAGE).sum() > PATCHES**2
    assert output.logits.isfinite().all()


def test_loss_reaches_the_tower():
    model, inputs = llava_onevision().train(), video_inputs()
    labels = inputs.input_ids.masked_fill(inputs.input_ids == VIDEO, -100)
    loss = model(**inputs, labels=labels).loss
    loss.backward()
    assert loss.isfinite() and model.model.vision_tower.input_layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("make_inputs", [video_inputs, image_inputs], ids=["video", "image"])
def test_generate(make_inputs):
    model, inputs = llava_onevision(), make_inputs()
    arguments = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "suppress_tokens": [IMAGE, VIDEO]}
    tokens = model.generate(**inputs, **arguments)
    assert tokens.shape == (1, inputs.input_ids.shape[1] + 4)
    assert torch.equal(model.generate(**inputs, **arguments, use_cache=False), tokens)


@torch.no_grad()
def test_saved_and_loaded(tmp_path):
    model = llava_onevision()
    model.save_pretrained(tmp_path)
    again, info = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert type(again.model.vision_tower) is AtokenVisionModel and again.config.vision_config.image_size == SIDE
    for inputs in (video_inputs(), image_inputs()):
        torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, atol=1e-6, rtol=0)
