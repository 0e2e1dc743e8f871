"""Batches of training: mixtures, budgets, damage, and going on where a run stopped."""

import numpy as np
import pytest
import torch

from atoken.tokenizing.sources import IndexedSource, open_source
from atoken.training.data.batches import Batches, Mixture, TooManyUnreadable
from atoken.training.data.samples import Limits
from atoken.training.data.tasks import open_tasks, read_data

from ...tokenizing.picture_sources import SOURCES, write_pictures
from ..stage_samples import write_photos

LIMITS = Limits(image_resolution=(32, 96), video_resolution=(32, 32), frames=(4, 8), max_tokens=64)


@pytest.fixture(params=SOURCES)
def pictures(request, tmp_path):
    return write_pictures(request.param, tmp_path)


def open_batches(entries: list[dict], rank: int = 0, processes: int = 1, count: int = 4) -> Batches:
    sources = [open_source(entry, "image", 5, rank, processes) for entry in entries]
    tokenize = lambda texts: torch.tensor([[int(text.split()[-1])] for text in texts])  # noqa: E731
    mixture = Mixture(sources, 5, rank, processes)
    return Batches("image_understanding", mixture, LIMITS, 64, count, tokenize)


def test_every_source_gives_each_picture_once_an_epoch_in_a_new_order(pictures):
    batches = open_batches([pictures])
    epochs = [[int(i) for _ in range(3) for i in next(batches).input_ids[:, 0]] for _ in range(3)]
    batches.close()
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_captions_belong_to_their_pictures(pictures):
    batches = open_batches([pictures])
    batch = next(batches)
    batches.close()
    for ids, tokens in zip(
        batch.input_ids[:, 0], batch.pixel_values.split(batch.cu_seqlens.diff().tolist()), strict=True
    ):
        red = tokens[0, :768].unflatten(0, (256, 3))[:, 0].mean()
        assert round(float((red + 1) * 127.5)) == 20 * int(ids)


@pytest.mark.parametrize("before", [1, 4])
def test_batches_go_on_where_they_stopped(pictures, before):
    batches = open_batches([pictures])
    for _ in range(before):
        next(batches)
    state = batches.state()
    expected = [next(batches) for _ in range(5)]
    batches.close()
    again = open_batches([pictures])
    next(again)  # what has been read ahead must not matter
    again.restore(state)
    for batch in expected:
        found = next(again)
        assert torch.equal(found.pixel_values, batch.pixel_values) and torch.equal(found.input_ids, batch.input_ids)
        assert found.numbers == batch.numbers
    again.close()


def test_processes_share_an_epoch(pictures):
    parts = []
    for rank in range(2):
        batches = open_batches([pictures], rank, 2, count=2)
        parts.append([int(i) for _ in range(3) for i in next(batches).input_ids[:, 0]])
        batches.close()
    assert sorted(parts[0] + parts[1]) == list(range(12))


def test_sources_are_drawn_from_in_proportion_to_their_size():
    sources = [IndexedSource(str(size), lambda i: {}, 10, 0, size) for size in (1.0, 3.0, 6.0)]
    mixture = Mixture(sources, seed=3)
    for _ in range(4000):
        mixture.draw()
    shares = np.array(mixture.counts) / 4000
    assert np.abs(shares - [0.1, 0.3, 0.6]).max() < 0.025  # three standard deviations


def test_batches_are_filled_by_tokens(tmp_path):
    write_photos(tmp_path)
    mixture = Mixture([open_source({"source": "folder", "path": str(tmp_path)}, "image", 0)], 0)
    batches = Batches("image_reconstruction", mixture, LIMITS, 64, 100)
    numbers = []
    for _ in range(12):
        batch = next(batches)
        assert batch.num_tokens <= 64 and batch.num_samples >= 1
        assert batch.cu_seqlens[-1] == batch.num_tokens
        numbers += batch.numbers
    batches.close()
    assert numbers == list(range(len(numbers)))  # none is lost between batches


def test_damage_is_counted_and_too_much_of_it_stops(tmp_path):
    folder = write_photos(tmp_path / "some", 20)
    (folder / "0.png").write_bytes(b"no picture")
    mixture = Mixture([open_source({"source": "folder", "path": str(folder)}, "image", 0)], 0)
    batches = Batches("image_reconstruction", mixture, LIMITS, 10**6, 38)
    next(batches)
    assert 1 <= batches.unreadable <= 2 and batches.seen == 38 + batches.unreadable
    batches.close()
    for path in sorted(folder.iterdir())[:10]:
        path.write_bytes(b"no picture")
    batches = Batches("image_reconstruction", mixture, LIMITS, 10**6, 400)
    with pytest.raises(TooManyUnreadable, match=r"image_reconstruction: \d+ of 20\d samples cannot be read; the last"):
        next(batches)
    batches.close()


def test_wrong_data_files_are_named(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("image_understanding: {source: miniature}\n")
    with pytest.raises(ValueError, match="data must be tasks, each with a list of sources, got .*data.yaml"):
        read_data(path)
    data = {"image_understanding": [{"source": "miniature"}]}
    options = (LIMITS, None, 16, 0, 0, 2, 1)
    with pytest.raises(
        ValueError, match="data must have sources of video_reconstruction, got some of image_understanding"
    ):
        open_tasks(["video_reconstruction"], data, {"video_reconstruction": 2}, *options)
    with pytest.raises(
        ValueError, match="batch_sizes: image_understanding must be a multiple of the 2 processes, got 3"
    ):
        open_tasks(["image_understanding"], data, {"image_understanding": 3}, *options)
