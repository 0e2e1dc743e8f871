"""The loss of real words: the space that a text tower has them in, both targets, and what stays as it is."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from atoken.training.data.batches import TrainingBatch
from atoken.training.recipes.tiny import words_objective
from atoken.training.recipes.tiny.words_objective import (
    DISTILLATION_WEIGHT,
    LOGIT_SCALE,
    MAP_WEIGHT,
    WEIGHT,
    WordsObjective,
    fit_space,
)
from atoken.training.recipes.tiny.words_targets import MAP_CHANNELS
from atoken.training.recipes.tiny.words_task import WordBatches
from atoken.training.starts import load_start
from atoken.training.tokenizer.objective import Objective

from ...stage_samples import WIDTH, make_start
from ...whole_batches import losses_of
from .word_samples import DIMENSIONS, NAMES, word_vectors, write_targets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_targets(tmp_path_factory.mktemp("words"))


@pytest.fixture
def objective(tmp_path):
    model, processor = load_start(str(make_start(tmp_path / "start")))
    torch.manual_seed(0)
    space, names = torch.randn(DIMENSIONS, WIDTH), torch.randn(len(NAMES), WIDTH)
    return WordsObjective(space, names, model=model, weights={}, processor=processor)


def test_a_tower_that_is_linear_in_words_is_found_out(folder, monkeypatch):
    matrix = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS))[0][:, :WIDTH]
    words = word_vectors()
    monkeypatch.setattr(words_objective, "embed_texts", lambda _, __, texts: words(texts) @ matrix)
    space, names = fit_space(folder, None, None)
    assert space.shape == (DIMENSIONS, WIDTH)
    torch.testing.assert_close(names, words(NAMES) @ matrix)
    assert F.cosine_similarity(words(NAMES) @ space, names, dim=-1).min() > 0.98


def test_the_loss_is_what_its_parts_say(folder, objective):
    batch = next(WordBatches(folder, 3, seed=0))
    found = losses_of(objective, batch)
    with torch.no_grad():
        encoded = objective.model.vision_model(batch.pixel_values, batch.coords, batch.cu_seqlens)
    pooled = F.normalize(encoded.pooler_output.double(), dim=-1).numpy()
    target = F.normalize((batch.vectors @ objective.space).double(), dim=-1).numpy()
    words = 1 - (pooled * target).sum(1).mean()
    names = F.normalize(objective.names.double(), dim=-1).numpy()
    scores = [np.exp(LOGIT_SCALE) / 2 * each @ names.T for each in (target, pooled)]
    log_p, log_q = (s - np.log(np.exp(s).sum(1, keepdims=True)) for s in scores)
    distilled = (np.exp(log_p) * (log_p - log_q)).sum(1).mean()
    assert abs(float(found["words"]) - words) < 1e-4 and abs(float(found["names"]) - distilled) < 1e-3
    total = WEIGHT * float(found["words"] + found["names"] + MAP_WEIGHT * found["maps"])
    assert abs(float(found["loss"].detach()) - total) < 1e-3
    found["loss"].backward()
    assert objective.model.vision_model.input_layer.weight.grad.abs().max() > 0
    assert objective.model.decoder.input_layer.weight.grad is None


def test_places_of_tokens_are_those_of_the_map(folder, objective):
    """A map that repeats each place's mean of tokens is matched exactly by a head that copies."""
    batches = WordBatches(folder, 2, seed=0)
    batch = next(batches)
    while batch.grid != (14, 14):
        batch = next(batches)
    with torch.no_grad():
        tokens = objective.model.vision_model(batch.pixel_values, batch.coords, batch.cu_seqlens).last_hidden_state
        grid = tokens.reshape(2, 7, 2, 7, 2, WIDTH).mean((2, 4))[..., : min(WIDTH, MAP_CHANNELS)]
        objective.map_head.weight.copy_(torch.eye(MAP_CHANNELS, WIDTH))
        objective.map_head.bias.zero_()
    maps = torch.zeros(2, MAP_CHANNELS, 7, 7)
    maps[:, : grid.shape[-1]] = grid.permute(0, 3, 1, 2)
    batch.maps = maps
    assert float(losses_of(objective, batch)["maps"]) < 1e-9


def _drawn(task: str) -> TrainingBatch:
    """Makes ten images of 1 x 4 patches, with texts."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(40, 3072, generator=generator) * 2 - 1
    coords = torch.tensor([[0, 0, place % 4, 0] for place in range(40)])
    cu_seqlens = torch.arange(0, 41, 4, dtype=torch.int32)
    numbers = list(range(10))
    return TrainingBatch(
        task, patches, coords, cu_seqlens, [(1, 1, 4)] * 10, [4] * 10, numbers, torch.ones(10, 16).long()
    )


def test_other_tasks_stay_as_they_are_but_for_the_weight_of_what_is_known(objective):
    plain = Objective(objective.model, {"image": {"l1": 1.0}})
    objective.weights = plain.weights
    for task, factor in (("image_understanding", DISTILLATION_WEIGHT), ("image_reconstruction", 1.0)):
        found, expected = losses_of(objective, _drawn(task)), losses_of(plain, _drawn(task))
        torch.testing.assert_close(found.pop("loss"), factor * expected.pop("loss"))
        assert found == expected


def test_heads_begin_where_regressions_end(folder, objective):
    """Pooled tokens turn towards words, and those of other pictures stay where they are."""
    other = _drawn("image_understanding")
    packed = other.pixel_values, other.coords, other.cu_seqlens
    batches = WordBatches(folder, 8, seed=0)
    words = [next(batches) for _ in range(6)]
    with torch.no_grad():
        before = [losses_of(objective, batch) for batch in words]
        known = objective.model.vision_model(*packed).pooler_output
        objective.fit_heads(words, [other])
        after = [losses_of(objective, batch) for batch in words]
        found = objective.model.vision_model(*packed).pooler_output
    for name in ("maps", "words"):
        assert sum(part[name] for part in after) < 0.97 * sum(part[name] for part in before)
    assert F.cosine_similarity(found, known, dim=-1).mean() > 0.8


def test_the_model_alone_is_exported(objective, tmp_path):
    state = objective.state_dict()
    assert {"map_head.weight", "map_head.bias"} <= set(state) and "space" not in state
    objective.export(state, tmp_path / "out")
    again, _ = load_start(str(tmp_path / "out"))
    assert torch.equal(again.latent_proj.weight, objective.model.latent_proj.weight)
    assert objective.count_flops(next(WordBatches(write_targets(tmp_path / "w"), 1, 0))) is None
