"""What transformers' common tests of generation look at, which no distribution of it has: ways to generate agree."""

import pytest
import torch

from .parts import clip, mixed_batch, model_inputs, picture, question, shared_parts

GREEDY = {"max_new_tokens": 6, "do_sample": False}


def one_prompt():
    model, processor = shared_parts()
    return model, model_inputs(processor, [question("And?", video=clip(9, 40, 64), image=picture(70, 33, 1))])


def test_outputs_of_each_step():
    model, processor = shared_parts()
    inputs = model_inputs(processor, mixed_batch())
    length = inputs.input_ids.shape[1]
    output = model.generate(**inputs, **GREEDY, return_dict_in_generate=True, output_scores=True, output_logits=True)
    assert output.sequences.shape == (4, length + 6) and len(output.scores) == len(output.logits) == 6
    chosen = torch.stack(output.logits, dim=1).argmax(-1)
    assert torch.equal(chosen, output.sequences[:, length:])
    assert output.past_key_values.get_seq_length() == length + 5


def test_logits_of_a_step_are_those_of_a_forward_pass():
    model, inputs = one_prompt()
    output = model.generate(**inputs, **GREEDY, return_dict_in_generate=True, output_logits=True)
    length = inputs.input_ids.shape[1]
    mask = torch.ones_like(output.sequences)
    with torch.no_grad():
        whole = model(**{**inputs, "input_ids": output.sequences, "attention_mask": mask}).logits
    expected = whole[:, length - 1 : -1]
    torch.testing.assert_close(torch.stack(output.logits, dim=1), expected, atol=1e-4, rtol=1e-4)


def test_sampling_repeats_with_its_seed_and_gives_several_answers():
    model, inputs = one_prompt()
    options = {"max_new_tokens": 6, "do_sample": True, "num_return_sequences": 3}
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(model.generate(**inputs, **options))
    assert drawn[0].shape[0] == 3 and torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("options", [{"num_beams": 3, "num_return_sequences": 3}, {"num_beams": 2, "do_sample": True}])
def test_beams_keep_the_media(options):
    model, inputs = one_prompt()
    torch.manual_seed(0)
    output = model.generate(**inputs, max_new_tokens=6, **options)
    assert output.shape[0] == options.get("num_return_sequences", 1)
    assert torch.equal(output[:, : inputs.input_ids.shape[1]], inputs.input_ids.expand(len(output), -1))


def test_it_goes_on_from_a_cache():
    model, inputs = one_prompt()
    expected = model.generate(**inputs, **GREEDY)
    first = model.generate(**inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
    rest = model.generate(
        input_ids=first.sequences,
        attention_mask=torch.ones_like(first.sequences),
        past_key_values=first.past_key_values,
        max_new_tokens=3,
        do_sample=False,
    )
    assert torch.equal(rest, expected)


def test_guessed_tokens_change_nothing():
    """Prompt lookup and an assistant model propose tokens, and the model takes those that it would have chosen."""
    model, inputs = one_prompt()
    expected = model.generate(**inputs, **GREEDY)
    assert torch.equal(model.generate(**inputs, **GREEDY, prompt_lookup_num_tokens=2), expected)
    assert torch.equal(model.generate(**inputs, **GREEDY, assistant_model=model), expected)


def test_embeddings_in_place_of_ids():
    model, inputs = one_prompt()
    expected = model.generate(**inputs, **GREEDY)[:, inputs.input_ids.shape[1] :]
    given = {name: value for name, value in inputs.items() if name != "input_ids"}
    embeds = model.get_input_embeddings()(inputs.input_ids)
    assert torch.equal(model.generate(inputs_embeds=embeds, **given, **GREEDY), expected)


def test_other_media_give_other_answers():
    """Without this, all of the above could hold for a model that does not look."""
    model, inputs = one_prompt()
    seen = model(**inputs).logits[:, -1]
    gray = {name: torch.zeros_like(inputs[name]) for name in ("pixel_values", "pixel_values_videos")}
    assert not torch.allclose(model(**{**inputs, **gray}).logits[:, -1], seen, atol=1e-2)
