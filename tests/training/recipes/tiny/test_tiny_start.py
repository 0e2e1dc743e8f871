"""The start of the tiny curriculum: its words, latents in order, and rows that keep them."""

from dataclasses import replace

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.miniature.captions import captions
from atoken.miniature.scenes import Scene
from atoken.processing.text_processing_atoken import tokenize_text
from atoken.training.frozen_rows import ProtectedRows
from atoken.training.recipes.tiny.pca_start import NULL, SWITCHES, Pca, protected_rows, start_from_pca
from atoken.training.recipes.tiny.sizes import SIZES
from atoken.training.recipes.tiny.start import (
    SPARE,
    decoder_channels,
    first_latents,
    indicator_first,
    rows_behind_latents,
    rows_to_grow_into,
)
from atoken.training.recipes.tiny.text_tower import LENGTH, SceneTower, build_text_model, build_tokenizer, is_true
from atoken.training.tokenizer.curriculum import grow_latents


def test_the_tokenizer_knows_every_word():
    tokenizer = build_tokenizer()
    scene = Scene("video", "red", "star", "striped", motion="circling")
    for text in captions(scene):
        ids = tokenize_text(tokenizer, text, max_length=LENGTH)[0].tolist()
        assert tokenizer.unk_token_id not in ids and ids.index(tokenizer.eos_token_id) < LENGTH
    assert tokenizer.unk_token_id in tokenize_text(tokenizer, "a photo of a cat", max_length=LENGTH)[0].tolist()


def test_truth_is_what_the_sentences_say():
    shapes = (("star", "striped"), ("ring", "plain"))
    scenes = [Scene("image", "red", shape, material, position="top") for shape, material in shapes]
    texts = ["a star", "something red", "a red ring", "something at the top", "a blue star"]
    assert is_true(texts, scenes).tolist() == [[True, False], [True, True], [False, True], [True, True], [False, False]]


def test_scenes_are_sums_of_their_words():
    tower = SceneTower(8)
    scene = Scene("object", "red", "ball", "plain")
    rows = [tower.table.weight[tower.index[fact]] for fact in scene.facts().items()]
    torch.testing.assert_close(tower([scene])[0], torch.stack(rows).sum(0))
    text = build_text_model(len(build_tokenizer()), 8)
    assert text(input_ids=torch.zeros(2, LENGTH, dtype=torch.long)).pooler_output.shape == (2, 8)


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    model = AtokenModel(AtokenConfig.from_preset("tiny"))
    image, video = (Pca.fit(torch.randn(400, size) * torch.linspace(2, 0.1, size), 128) for size in (768, 3072))
    channels = start_from_pca(model, image, video)
    return model, channels


def test_latents_in_another_order_reconstruct_the_same(start):
    model, _ = start
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        before = model.encode(pixels)
        expected = model.decode(before.latents, before.coords, before.cu_seqlens).pixel_values
        moved = AtokenModel(model.config)
        moved.load_state_dict(model.state_dict())
        indicator_first(moved)
        after = moved.encode(pixels)
        found = moved.decode(after.latents, after.coords, after.cu_seqlens).pixel_values
        torch.testing.assert_close(after.latents[:, 1:], before.latents[:, :-1])
        torch.testing.assert_close(after.latents[:, 0], before.latents[:, -1])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        narrow = first_latents(moved, 32, torch.arange(0))
        torch.testing.assert_close(narrow.encode(pixels).latents, after.latents[:, :32])


def test_more_blocks_start_as_pca_too(start):
    """Checks the ablation's bigger sibling: what the hand-written blocks reconstruct passes through the others."""
    shallow, _ = start
    assert SIZES["tiny"].config().to_dict() == shallow.config.to_dict()
    deep = AtokenModel(replace(SIZES["tiny"], layers=8).config())
    image, video = (Pca.fit(torch.randn(400, size) * torch.linspace(2, 0.1, size), 128) for size in (768, 3072))
    start_from_pca(deep, image, video)
    start_from_pca(shallow, image, video)
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        found, expected = (model.encode(pixels) for model in (deep, shallow))
        torch.testing.assert_close(found.latents, expected.latents, atol=2e-2, rtol=0)
        found, expected = (m.decode(expected.latents, expected.coords, expected.cu_seqlens) for m in (deep, shallow))
    torch.testing.assert_close(found.pixel_values, expected.pixel_values, atol=2e-2, rtol=0)


def test_protected_rows_keep_the_latents(start, tmp_path):
    """Checks that steps of understanding change the tower but not one latent."""
    before, channels = start
    model = AtokenModel(before.config)
    model.load_state_dict(before.state_dict())
    rows = ProtectedRows.of(model, protected_rows(model) + rows_behind_latents(model, channels))
    rows.save(tmp_path)
    rows = ProtectedRows.load(str(tmp_path))
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    expected = before.encode(pixels)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        model.encode(pixels).pooler_output.square().sum().backward()
        rows.before_clip(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    found = model.encode(pixels)
    assert (found.pooler_output - expected.pooler_output).abs().max() > 1e-2
    torch.testing.assert_close(found.latents, expected.latents, atol=2e-3, rtol=0)


def test_what_is_trained_with_few_latents_leaves_room_for_the_others():
    """Checks that steps of 32 latents write nothing where the others come, and that these bring what PCA says."""
    torch.manual_seed(0)
    wide = AtokenModel(AtokenConfig.from_preset("tiny"))
    image, video = (Pca.fit(torch.randn(400, size) * torch.linspace(2, 0.1, size), 128) for size in (768, 3072))
    channels = start_from_pca(wide, image, video, SPARE)
    indicator_first(wide)
    idle = decoder_channels(wide, slice(32, 48))
    assert idle.tolist() == (wide.decoder.input_layer.weight[:, 32:] != 0).any(1).nonzero().flatten().tolist()
    narrow = first_latents(wide, 32, idle)
    # Rows of the same parameters, as both have the same widths.
    kept = protected_rows(wide, NULL + 1 + SPARE, SWITCHES + SPARE)
    rows = ProtectedRows.of(wide, kept + rows_to_grow_into(wide, channels, 32))
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1

    def states(model: AtokenModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        encoded = model.encode(pixels)
        output = model.decode(encoded.latents, encoded.coords, encoded.cu_seqlens, output_hidden_states=True)
        return encoded.latents, output.hidden_states[-1], output.pixel_values

    optimizer = torch.optim.SGD(narrow.parameters(), lr=0.3)
    before = states(narrow)[2]
    for _ in range(3):
        optimizer.zero_grad()
        (states(narrow)[2] - 0.5).square().mean().backward()
        rows.before_clip(narrow)
        torch.nn.utils.clip_grad_norm_(narrow.parameters(), 0.1)
        optimizer.step()
    with torch.no_grad():
        _, hidden, after = states(narrow)
        assert (after - before).abs().max() > 1e-2
        # Positions alone may move there.
        table = narrow.decoder.position_embedding.weight[:, idle].abs().max()
        assert hidden[:, idle].abs().max() <= table + 1e-3 and hidden.abs().max() > 1
        grow_latents(narrow, 48, template=wide)
        latents, grown, _ = states(narrow)
        expected, filled, _ = states(wide)
    torch.testing.assert_close(latents[:, 32:], expected[:, 32:], atol=2e-2, rtol=0)
    torch.testing.assert_close(grown[:, idle], filled[:, idle], atol=2e-2, rtol=0)
