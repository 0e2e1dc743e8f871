"""Embeddings of texts do not depend on how the texts were batched."""

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.text_padding_atoken import pad_texts

from .helpers import TEXT, media, randomize, tiny_config

LENGTH, PAD = TEXT["max_position_embeddings"], 0


@pytest.fixture(scope="module")
def model() -> AtokenModel:
    config = tiny_config(text_config={**TEXT, "pad_token_id": PAD})
    return randomize(AtokenModel(config))


def full(*texts: list[int]) -> torch.Tensor:
    """(texts, LENGTH): padded as in training."""
    return torch.tensor([[*text, *[PAD] * (LENGTH - len(text))] for text in texts])


@torch.no_grad()
def test_every_way_to_batch_gives_one_embedding(model):
    texts = [5, 6, 7, 1], [8, 9, 1]
    right = model.text_model(full(*texts)).pooler_output
    longest = torch.tensor([texts[0], [*texts[1], PAD]])
    left = torch.tensor([[PAD, *texts[0]], [PAD, PAD, *texts[1]]])
    for ids in (full(*texts), longest, left, full(*texts).roll(3, dims=1), longest.int()):
        for mask in (None, torch.ones_like(ids), (ids != PAD).long(), ids != PAD):
            assert torch.equal(model.get_text_features(ids, mask).pooler_output, right)
    for index, text in enumerate(texts):
        alone = model.get_text_features(torch.tensor([text])).pooler_output
        torch.testing.assert_close(alone, right[index : index + 1], atol=1e-5, rtol=0)
    whole = model(media(1, 3, 16, 16), input_ids=longest, attention_mask=(longest != PAD).long())
    torch.testing.assert_close(whole.text_embeds, torch.nn.functional.normalize(right, dim=-1), atol=1e-6, rtol=0)


@torch.no_grad()
def test_hidden_states_are_those_of_the_given_tokens(model):
    right = model.text_model(full([5, 6, 7, 1]), output_hidden_states=True)
    for ids, place in (([5, 6, 7, 1], 0), ([PAD, PAD, 5, 6, 7, 1], 2), ([5, 6, 7, 1, PAD], 0)):
        output = model.get_text_features(torch.tensor([ids]), output_hidden_states=True)
        assert output.last_hidden_state.shape[:2] == (1, len(ids)) and len(output.hidden_states) == 3
        states = zip(
            (output.last_hidden_state, *output.hidden_states),
            (right.last_hidden_state, *right.hidden_states),
            strict=True,
        )
        assert all(torch.equal(ours[:, place : place + 4], theirs[:, :4]) for ours, theirs in states)


@torch.no_grad()
def test_a_mask_still_hides_words(model):
    ids = torch.tensor([[5, 6, 7, 1]])
    hidden = model.get_text_features(ids, torch.tensor([[1, 0, 1, 1]])).pooler_output
    mask = torch.tensor([[1, 0] + [1] * (LENGTH - 2)])
    expected = model.text_model(full([5, 6, 7, 1]), attention_mask=mask).pooler_output
    assert torch.equal(hidden, expected)
    assert (hidden - model.get_text_features(ids).pooler_output).abs().max() > 1e-3


def test_texts_of_the_full_length_stay_as_they_are(model):
    ids = torch.arange(2, 2 + LENGTH)[None]
    padded, mask, _ = pad_texts(ids, None, model.config.text_config)
    assert torch.equal(padded, ids) and mask is None
    with pytest.raises(ValueError, match=rf"input_ids must have at most {LENGTH} columns.*got {LENGTH + 1}"):
        model.get_text_features(torch.zeros(1, LENGTH + 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="attention_mask must have the shape of input_ids"):
        model.get_text_features(ids, torch.ones(1, 3, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_padding_token_is_not_guessed():
    """Configurations of SigLIP 2 models state no tokens, and the defaults of their class are those of another."""
    stated = ("pad_token_id", "bos_token_id", "eos_token_id")
    text = {name: value for name, value in TEXT.items() if name not in stated}
    config = AtokenConfig(**{**tiny_config().to_dict(), "text_config": text})
    model = randomize(AtokenModel(config))
    with pytest.raises(ValueError, match="text_config does not state the padding token"):
        model.get_text_features(torch.tensor([[5, 6, 1]]))
    ids = full([5, 6, 1])
    right = model.get_text_features(ids).pooler_output
    assert torch.equal(right, model.text_model(ids).pooler_output)
    model.config.text_config.pad_token_id = PAD
    torch.testing.assert_close(model.get_text_features(ids[:, :3]).pooler_output, right, atol=1e-6, rtol=0)
