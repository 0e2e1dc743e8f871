"""The model: media in their places, generation, saving, training's needs."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, pipeline

from atoken.mllm import AtokenLlavaConfig, AtokenLlavaForConditionalGeneration, AtokenLlavaModel
from atoken.mllm.encoding_llava_atoken import encode_media, list_media

from .parts import (
    language_model,
    mixed_batch,
    model_inputs,
    parts,
    picture,
    question,
    shared_parts,
    tokenizer,
    tower,
)


@torch.no_grad()
def test_each_frame_is_an_image_of_the_encoder_and_clips_are_its_videos():
    model, encoder = shared_parts()[0], tower()
    video = torch.rand(6, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = video.reshape(6, 3, 2, 16, 4, 16).permute(0, 2, 4, 3, 5, 1).reshape(-1, 768)
    image, grid = rows[:8], torch.tensor([[1, 2, 4]])
    features = model.model.encode_features(image, grid, rows, torch.tensor([[6, 2, 4]]))
    expected = encoder(video).last_hidden_state.unflatten(1, (2, 4))  # (B, C, H, W): images
    torch.testing.assert_close(features[1][0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(features[0][0], expected[0], atol=1e-5, rtol=0)
    media = list_media([[6, 2, 4]], len(rows), "grid", "rows")
    for limit in (None, 8, 20, 1):
        encoded = encode_media(encoder, rows, media, 4, False, None, limit)
        torch.testing.assert_close(encoded[0], expected, atol=1e-5, rtol=0)
        encoded = encode_media(encoder, rows, media * 2, 4, True, None, limit)
        together = encoder(video[None]).last_hidden_state.unflatten(1, (2, 2, 4))[0]
        torch.testing.assert_close(encoded[1], together, atol=1e-5, rtol=0)
    layer = encode_media(encoder, rows, media, 4, False, -2, None)[0]
    states = encoder(video, output_hidden_states=True).hidden_states[-2].unflatten(1, (2, 4))
    torch.testing.assert_close(layer, states, atol=1e-5, rtol=0)


@torch.no_grad()
def test_tokens_stand_in_the_place_of_their_placeholders():
    model, processor = shared_parts()
    inputs = model_inputs(processor, mixed_batch())
    output = model(**inputs)
    embeds = model.get_input_embeddings()(inputs.input_ids)
    images = model.get_image_features(inputs.pixel_values, inputs.image_grid_thw).pooler_output
    videos = model.get_video_features(inputs.pixel_values_videos, inputs.video_grid_thw).pooler_output
    embeds[inputs.input_ids == model.config.image_token_id] = torch.cat(images)
    embeds[inputs.input_ids == model.config.video_token_id] = torch.cat(videos)
    expected = model.lm_head(
        model.model.language_model(inputs_embeds=embeds, attention_mask=inputs.attention_mask).last_hidden_state
    )
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=0)
    pooled = {
        "pooled_images": [
            model.model.multi_modal_projector.pool_image(each)
            for each in model.model.encode_features(inputs.pixel_values, inputs.image_grid_thw, None, None)[0]
        ],
        "pooled_videos": [
            model.model.multi_modal_projector.pool_video(each)
            for each in model.model.encode_features(None, None, inputs.pixel_values_videos, inputs.video_grid_thw)[1]
        ],
    }
    cached = model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, **pooled)
    torch.testing.assert_close(cached.logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("use_cache", [True, False])
def test_a_batch_answers_as_each_alone(beams, use_cache):
    model, processor = shared_parts()
    options = {"max_new_tokens": 4, "do_sample": False, "num_beams": beams, "use_cache": use_cache}
    inputs = model_inputs(processor, mixed_batch())
    together = model.generate(**inputs, **options)[:, inputs.input_ids.shape[1] :]
    for row, conversation in zip(together, mixed_batch(), strict=True):
        inputs = model_inputs(processor, [conversation])
        alone = model.generate(**inputs, **options)[0, inputs.input_ids.shape[1] :]
        assert row[: len(alone)].tolist() == alone.tolist()


def test_pipeline():
    model, processor = shared_parts()
    ask = pipeline("image-text-to-text", model=model, processor=processor)
    answer = ask(
        text=question("What?", image=Image.fromarray(picture(64, 64))), max_new_tokens=3, return_full_text=False
    )
    inputs = model_inputs(processor, [question("What?", image=picture(64, 64))])
    ids = model.generate(**inputs, max_new_tokens=3)[:, inputs.input_ids.shape[1] :]
    assert answer[0]["generated_text"] == processor.batch_decode(ids, skip_special_tokens=True)[0]


@pytest.mark.parametrize("tie", [False, True])
def test_parts_keep_their_weights_and_saved_models_load(tie, tmp_path):
    lm, encoder = language_model(tie), tower()
    expected = {name: tensor.clone() for name, tensor in lm.state_dict().items()}
    model = AtokenLlavaForConditionalGeneration.from_pretrained_parts(encoder, lm, tokenizer(), slow_frames=2)
    state = model.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(state[name if name.startswith("lm_head") else "model.language_" + name], tensor)
    for name, tensor in tower().state_dict().items():
        assert torch.equal(state[f"model.vision_tower.{name}"], tensor)
    assert not any(tensor.is_meta for tensor in state.values())
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is AtokenLlavaConfig
    loaded, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is AtokenLlavaForConditionalGeneration and not info["missing_keys"]
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tie
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert loaded.generation_config.eos_token_id == model.generation_config.eos_token_id
    assert type(AutoModel.from_pretrained(tmp_path)) is AtokenLlavaModel


def test_parts_are_found_by_name_and_the_vocabulary_grows(tmp_path):
    from atoken import AtokenModel

    from ..modeling.helpers import tiny_config

    AtokenModel(tiny_config()).save_pretrained(tmp_path / "tower")
    language_model(vocab_size=257).save_pretrained(tmp_path / "words")
    tokenizer().save_pretrained(tmp_path / "words")
    model = AtokenLlavaForConditionalGeneration.from_pretrained_parts(
        str(tmp_path / "tower"), str(tmp_path / "words"), dtype=torch.bfloat16
    )
    rows = model.lm_head.weight.shape[0]
    assert rows == model.config.text_config.vocab_size == model.get_input_embeddings().num_embeddings >= 263
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="tokenizer must be given"):
        AtokenLlavaForConditionalGeneration.from_pretrained_parts(tower(), language_model())


def labels_of(model, inputs):
    ids = inputs.input_ids
    media = (ids == model.config.image_token_id) | (ids == model.config.video_token_id)
    return ids.masked_fill(media | (inputs.attention_mask == 0), -100)


def test_a_frozen_encoder_keeps_no_activations_and_everything_else_learns():
    model, processor = parts()
    model.train()
    model.model.vision_tower.requires_grad_(False)
    inputs = model_inputs(processor, mixed_batch())
    features = model.model.encode_features(inputs.pixel_values, inputs.image_grid_thw, None, None)[0]
    assert not any(each.requires_grad for each in features)
    model(**inputs, labels=labels_of(model, inputs)).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("vision_tower" not in name), name
    assert model.model.multi_modal_projector.image_newline.grad.abs().sum() > 0
    model.model.vision_tower.requires_grad_(True)
    model(**inputs, labels=labels_of(model, inputs)).loss.backward()
    assert model.model.vision_tower.blocks[0].attn.qkv.weight.grad.abs().sum() > 0


def test_batches_without_media_reach_every_part_and_change_nothing():
    model, processor = parts()
    inputs = model_inputs(processor, [question("Hi")])
    labels = labels_of(model, inputs)
    quiet = model(**inputs, labels=labels).loss
    model.train()
    loss = model(**inputs, labels=labels).loss
    torch.testing.assert_close(loss, quiet)
    loss.backward()
    for name, parameter in model.named_parameters():
        if not name.startswith("model.vision_tower.head."):
            assert parameter.grad is not None, name
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() == 0
    pooled = model(**inputs, labels=labels, pooled_images=[]).loss
    torch.testing.assert_close(pooled, quiet)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model, processor = parts()
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            assert model.model.language_model.gradient_checkpointing
        inputs = model_inputs(processor, mixed_batch())
        model(**inputs, labels=labels_of(model, inputs)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


def test_lora(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model, processor = parts()
    config = LoraConfig(
        r=2,
        target_modules=r".*language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj",
        modules_to_save=["multi_modal_projector"],
    )
    inputs = model_inputs(processor, mixed_batch())
    adapted = get_peft_model(model, config).train()
    assert not any("vision_tower" in name for name, p in adapted.named_parameters() if p.requires_grad)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        adapted(**inputs, labels=labels_of(model, inputs)).loss.backward()
        optimizer.step()
    adapted.eval().save_pretrained(tmp_path)
    expected = adapted(**inputs).logits
    again = PeftModel.from_pretrained(parts()[0], tmp_path).eval()(**inputs).logits
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=0)


def test_bad_calls():
    model, processor = shared_parts()
    inputs = model_inputs(processor, [question("Hi", image=picture(64, 64))])
    text = {"input_ids": inputs.input_ids}
    pixels, grid = inputs.pixel_values, inputs.image_grid_thw
    calls = {
        "no grid": ({**text, "pixel_values": pixels}, "image_grid_thw must be given"),
        "another grid": ({**text, "pixel_values": pixels, "image_grid_thw": grid * 2}, "must have|must multiply"),
        "rows of a clip": (
            {**text, "pixel_values": pixels.repeat(1, 4), "image_grid_thw": grid},
            r"pixel_values must be floats \(N, 768\)",
        ),
        "integers": ({**text, "pixel_values": pixels.long(), "image_grid_thw": grid}, "pixel_values must be floats"),
        "several frames": (
            {**text, "pixel_values": pixels, "image_grid_thw": torch.tensor([[4, 2, 2]])},
            "image_grid_thw must have 1 frame",
        ),
        "an empty side": (
            {**text, "pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 0, 4]])},
            "three positive integers",
        ),
        "fewer placeholders": (
            {"input_ids": inputs.input_ids[:, :40], "pixel_values": pixels, "image_grid_thw": grid},
            "Image features and image tokens do not match, tokens: .*, features: 20",
        ),
        "pixels and pooled features": (
            {**text, "pixel_values": pixels, "image_grid_thw": grid, "pooled_images": []},
            "only one of pixel_values",
        ),
        "ids and embeddings": (
            {**text, "inputs_embeds": torch.zeros(1, 3, 32)},
            "exactly one of input_ids and inputs_embeds",
        ),
        "beyond the context": (
            {"input_ids": torch.zeros(1, 4097, dtype=torch.long)},
            "at most the 4096 tokens of the language model's context, got 4097",
        ),
    }
    for given, message in calls.values():
        with pytest.raises(ValueError, match=message):
            model(**given)


@pytest.mark.parametrize(
    "field",
    [
        {"slow_frames": 0},
        {"fast_grid": (4,)},
        {"image_token_id": 7, "video_token_id": 7},
        {"video_input": "movie"},
        {"image_pool_stride": -1},
    ],
)
def test_bad_configurations(field):
    with pytest.raises(Exception, match=next(iter(field))):
        AtokenLlavaConfig(**field)


def test_the_example(monkeypatch, capsys):
    folder = Path(__file__).parents[2] / "examples"
    monkeypatch.setattr("sys.argv", ["ask.py", str(folder / "media/cat.jpg"), "What color is it?"])
    runpy.run_path(str(folder / "ask.py"))
    assert re.search(r"answer: [a-z]+", capsys.readouterr().out)
