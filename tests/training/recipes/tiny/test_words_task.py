"""Batches of words: what is in them, that they go on where they were, and that they come beside a stage's own."""

from types import SimpleNamespace

import pytest
import torch

from atoken.training.recipes.tiny.words_targets import MAP_CHANNELS
from atoken.training.recipes.tiny.words_task import SIDES, WordBatches, WordTurns

from .word_samples import DIMENSIONS, write_targets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_targets(tmp_path_factory.mktemp("words"))


def test_batches_hold_crops_of_one_size_with_what_was_seen(folder):
    batches, sides = WordBatches(folder, 3, seed=0), set()
    for _ in range(12):
        batch = next(batches)
        cells = batch.grid[0]
        sides.add(cells * 16)
        assert batch.grid == (cells, cells) and batch.num_tokens == 3 * cells**2
        assert batch.pixel_values.shape == (3 * cells**2, 3072) and batch.pixel_values.abs().max() <= 1
        assert batch.cu_seqlens.tolist() == [0, cells**2, 2 * cells**2, 3 * cells**2]
        assert batch.coords[: cells**2, 1:3].amax(0).tolist() == [cells - 1, cells - 1]
        assert batch.vectors.shape == (3, DIMENSIONS) and batch.maps.shape == (3, MAP_CHANNELS, 7, 7)
    assert sides <= set(SIDES) and len(sides) > 1


def test_batches_go_on_where_they_were(folder):
    batches, other = WordBatches(folder, 2, seed=3), WordBatches(folder, 2, seed=3)
    next(batches)
    state = batches.state()
    expected = next(batches)
    other.restore(state)
    found = next(other)
    assert torch.equal(found.pixel_values, expected.pixel_values) and torch.equal(found.maps, expected.maps)


def test_two_processes_see_what_one_would(folder):
    one = WordBatches(folder, 2, seed=1)
    both = [WordBatches(folder, 2, seed=1, rank=rank, processes=2) for rank in range(2)]
    for index in range(4):
        assert torch.equal(next(one).vectors, next(both[index % 2]).vectors)


def test_a_mirrored_crop_has_a_mirrored_map(folder, tmp_path):
    seen: dict[bytes, list] = {}
    batches = WordBatches(folder, 8, seed=5)
    for _ in range(12):
        batch = next(batches)
        if batch.grid != (7, 7):
            continue
        frames = batch.pixel_values[:, :768].unflatten(0, (8, 49))
        for vector, maps, crop in zip(batch.vectors, batch.maps, frames, strict=True):
            seen.setdefault(vector.numpy().tobytes(), []).append((maps, crop))
    pairs = [(one, two) for found in seen.values() for one in found for two in found]
    mirrored = [(one, two) for one, two in pairs if not torch.equal(one[0], two[0])]
    assert mirrored
    for (maps, crop), (other_maps, other_crop) in mirrored:
        assert torch.equal(maps, other_maps.flip(-1))
        pixels = crop.view(7, 7, 16, 16, 3).permute(0, 2, 1, 3, 4).reshape(112, 112, 3)
        other = other_crop.view(7, 7, 16, 16, 3).permute(0, 2, 1, 3, 4).reshape(112, 112, 3)
        assert torch.equal(pixels, other.flip(1))


def test_words_come_beside_the_batches_of_a_stage(folder):
    closed = []
    turns = SimpleNamespace(
        counters=lambda: {"unreadable": 0},
        state=lambda: {"round": {"a": 1.0}, "batches": {}},
        restore=closed.append,
        close=lambda: closed.append("closed"),
    )
    stage = type("Turns", (), {"__next__": lambda self: ["one", "two"], **vars(turns)})
    for name in ("counters", "state", "restore", "close"):
        setattr(stage, name, staticmethod(getattr(turns, name)))
    both = WordTurns(stage(), WordBatches(folder, 2, seed=0))
    assert both.counters() == {"unreadable": 0}
    first = next(both)
    assert first[:2] == ["one", "two"] and first[2].task == "photo_words"
    assert both.state() == {"round": {"a": 1.0}, "batches": {}, "words": {"number": 1}}
    both.restore({"words": {"number": 0}})
    assert torch.equal(next(both)[2].maps, first[2].maps)
    both.close()
    assert closed[-1] == "closed"


def test_a_folder_without_targets_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="run words_targets"):
        WordBatches(tmp_path, 2, seed=0)
