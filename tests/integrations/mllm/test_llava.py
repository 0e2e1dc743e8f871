"""AtokenVisionModel as the vision tower of LlavaForConditionalGeneration."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

from atoken import AtokenVisionModel

from .parts import IMAGE, IMG, any_size_processor, fixed_size_processor, llava, vision_config


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def media(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def prompt(image_tokens: int, image_token: int = IMAGE) -> torch.Tensor:
    return torch.tensor([[1, *[image_token] * image_tokens, 9, 10, 13]])


def fixed_size_inputs(seed: int = 0):
    pictures = [picture(80, 50, seed), picture(30, 100, seed + 1)]
    texts = ["<image> what is in the picture ?", "a <image>"]
    return fixed_size_processor()(images=pictures, text=texts, padding=True, return_tensors="pt")


def any_size_inputs():
    pictures = [[picture(40, 64)], [picture(64, 20, 1)]]
    texts = ["what is [IMG] ?", "[IMG] picture"]
    return any_size_processor()(images=pictures, text=texts, padding=True, return_tensors="pt")


@torch.no_grad()
def test_forward_puts_the_features_in_the_place_of_the_image_tokens():
    model, inputs = llava(), fixed_size_inputs()
    output = model(**inputs)
    assert output.logits.shape == (*inputs.input_ids.shape, model.config.text_config.vocab_size)
    assert output.logits.isfinite().all()
    tower = model.model.vision_tower
    assert type(tower) is AtokenVisionModel
    seen = tower(inputs.pixel_values, output_hidden_states=True).hidden_states[-1]
    expected = model.model.multi_modal_projector(seen).flatten(0, 1)
    assert expected.shape[0] == (inputs.input_ids == IMAGE).sum() == 2 * 8
    torch.testing.assert_close(output.image_hidden_states, expected)
    # Another picture gives other words, from the picture on; padding on the left is not looked at.
    other = model(**{**inputs, "pixel_values": -inputs.pixel_values}).logits
    assert (other - output.logits).abs().max() > 1e-3


def test_loss_reaches_tower_projector_and_language_model():
    model, inputs = llava().train(), fixed_size_inputs()
    labels = inputs.input_ids.masked_fill((inputs.input_ids == IMAGE) | (inputs.attention_mask == 0), -100)
    loss = model(**inputs, labels=labels).loss
    assert loss.isfinite() and loss > 0
    loss.backward()
    untouched = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    # What lies after the last hidden state is not asked for.
    after = ("model.vision_tower.head.", "model.vision_tower.post_layernorm.")
    assert untouched == {name for name, _ in model.named_parameters() if name.startswith(after)}
    tower = model.model.vision_tower
    assert tower.input_layer.weight.grad.abs().sum() > 0 and tower.blocks[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_a_few_steps_learn():
    model, inputs = llava().train(), fixed_size_inputs()
    labels = inputs.input_ids.masked_fill((inputs.input_ids == IMAGE) | (inputs.attention_mask == 0), -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_generate(options):
    model, inputs = llava(), fixed_size_inputs()
    arguments = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "suppress_tokens": [IMAGE]}
    tokens = model.generate(**inputs, **arguments, **options)
    assert tokens.shape == (2, inputs.input_ids.shape[1] + 4)
    assert torch.equal(tokens[:, :-4], inputs.input_ids)
    if not options:  # the cache changes nothing
        with torch.no_grad():
            logits = model(**inputs).logits[:, -1]
        logits[:, [2, IMAGE]] = -torch.inf  # min_new_tokens forbids the end
        assert torch.equal(tokens[:, -4], logits.argmax(-1))
        assert torch.equal(model.generate(**inputs, **arguments, use_cache=False), tokens)


@pytest.mark.parametrize("layer", [0, -2, [0, -1]])
@torch.no_grad()
def test_other_layers(layer):
    model, images = llava(vision_feature_layer=layer), media(1, 3, 32, 48)
    states = model.model.vision_tower(images, output_hidden_states=True).hidden_states
    chosen = states[layer] if isinstance(layer, int) else torch.cat([states[i] for i in layer], dim=-1)
    features = model(input_ids=prompt(6), pixel_values=images).image_hidden_states
    torch.testing.assert_close(features, model.model.multi_modal_projector(chosen)[0])


@torch.no_grad()
def test_sizes_vary_within_a_batch():
    """Pictures of other sizes in the batch, and what fills them up, change nothing."""
    model, inputs = llava(image_token=IMG), any_size_inputs()
    assert inputs.image_sizes.tolist() == [[48, 64], [64, 32]] and inputs.pixel_values.shape == (2, 3, 64, 64)
    assert (inputs.input_ids == IMG).sum() == 3 * 4 + 4 * 2
    output = model(**inputs)
    tower, project = model.model.vision_tower, model.model.multi_modal_projector
    alone = []
    for image, (height, width) in zip(inputs.pixel_values, inputs.image_sizes.tolist(), strict=True):
        states = tower(image[None, :, :height, :width], output_hidden_states=True).hidden_states
        alone.append(project(states[-1])[0])
    torch.testing.assert_close(output.image_hidden_states, torch.cat(alone), atol=1e-5, rtol=0)
    filled = inputs.pixel_values.clone()
    filled[0, :, 48:] = 1
    filled[1, :, :, 32:] = -1
    assert torch.equal(model(**{**inputs, "pixel_values": filled}).logits, output.logits)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_generate_from_varying_sizes(options):
    model, inputs = llava(image_token=IMG), any_size_inputs()
    tokens = model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False, **options)
    assert tokens.shape == (2, inputs.input_ids.shape[1] + 3)


@torch.no_grad()
def test_tower_with_image_sizes():
    tower = llava().model.vision_tower
    images, sizes = media(3, 3, 48, 64), [(48, 64), (16, 32), (32, 16)]
    output = tower(images, image_sizes=torch.tensor(sizes), output_hidden_states=True)
    assert output.last_hidden_state.shape == (1, 12 + 2 + 2, 32) and len(output.hidden_states) == 3
    start = 0
    for index, (height, width) in enumerate(sizes):
        alone = tower(images[index : index + 1, :, :height, :width], output_hidden_states=True)
        end = start + height * width // 256
        packed, expected = output.last_hidden_state[:, start:end], alone.last_hidden_state
        torch.testing.assert_close(packed, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(output.hidden_states[0][:, start:end], alone.hidden_states[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(output.pooler_output[index], alone.pooler_output[0], atol=1e-5, rtol=0)
        start = end


@pytest.mark.parametrize(
    "sizes, message",
    [
        ([(32, 32)], r"image_sizes must be integers \(2, 2\)"),
        ([(32.0, 32.0), (32.0, 32.0)], r"image_sizes must be integers \(2, 2\)"),
        ([(32, 32), (24, 32)], "multiples of 16 x 16 within pixel_values, got 24 x 32 in 32 x 48"),
        ([(32, 32), (32, 64)], "got 32 x 64 in 32 x 48"),
        ([(32, 32), (0, 32)], "got 0 x 32"),
    ],
)
def test_image_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        llava().model.vision_tower(media(2, 3, 32, 48), image_sizes=torch.tensor(sizes))


def test_image_sizes_of_videos():
    with pytest.raises(ValueError, match=r"image_sizes go with pixel_values \(B, C, H, W\)"):
        llava().model.vision_tower(media(1, 4, 3, 32, 48), image_sizes=torch.tensor([(32, 48)]))


def test_patch_that_is_not_square():
    config = vision_config(patch_size=(4, 16, 8))
    with pytest.raises(ValueError, match="as many rows as columns"):
        torch.tensor([[32, 32]]) // AtokenVisionModel(config).patch_size


@torch.no_grad()
def test_a_video_in_place_of_an_image():
    """(B, T, C, H, W): four frames of 16 x 16 pixels are one token."""
    model, video = llava(), media(1, 10, 3, 32, 48)
    output = model(input_ids=prompt(3 * 6), pixel_values=video)
    seen = model.model.vision_tower(video, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(output.image_hidden_states, model.model.multi_modal_projector(seen)[0])
    tokens = model.generate(input_ids=prompt(18), pixel_values=video, max_new_tokens=2, min_new_tokens=2)
    assert tokens.shape == (1, 1 + 18 + 3 + 2)


def test_too_few_image_tokens():
    with pytest.raises(ValueError, match="do not match"):
        llava()(input_ids=prompt(5), pixel_values=media(1, 3, 32, 48))


@pytest.mark.parametrize("kind", [LlavaForConditionalGeneration, AutoModelForImageTextToText])
@torch.no_grad()
def test_saved_and_loaded(kind, tmp_path):
    model, inputs = llava(image_token=IMG), any_size_inputs()
    model.save_pretrained(tmp_path)
    again, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert type(again) is LlavaForConditionalGeneration
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert type(again.model.vision_tower) is AtokenVisionModel
    before, after = ({**config.vision_config.to_dict(), "dtype": None} for config in (model.config, again.config))
    assert after == before
    torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, atol=1e-6, rtol=0)
    arguments = {"max_new_tokens": 3, "do_sample": False}
    assert torch.equal(again.generate(**inputs, **arguments), model.generate(**inputs, **arguments))


def test_bfloat16_and_checkpointing():
    model, inputs = llava(image_token=IMG).to(torch.bfloat16).train(), any_size_inputs()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert all(block.gradient_checkpointing for block in model.model.vision_tower.blocks)
    loss = model(**inputs.to(torch.bfloat16), labels=inputs.input_ids).loss
    loss.backward()
    assert loss.isfinite() and model.model.vision_tower.input_layer.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_trained_tower_is_put_in():
    """As docs/llava.md does with the tower of a checkpoint."""
    tower = AtokenVisionModel(vision_config()).eval()
    model = llava(vision_config=tower.config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    images = media(1, 3, 32, 48)
    expected = tower(images).last_hidden_state
    torch.testing.assert_close(model.model.vision_tower(images).last_hidden_state, expected)


def test_example(capsys):
    runpy.run_path(str(Path(__file__).parents[3] / "examples/llava_tower.py"))
    assert "sizes of the pictures: [[96, 128], [96, 128]]" in capsys.readouterr().out
