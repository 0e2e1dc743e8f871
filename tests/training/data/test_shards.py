"""Shards: each example once an epoch, every byte read once over all processes, damage and wrong options named."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from atoken.training.data import tar_index
from atoken.training.data.drawn_sources import OPENERS
from atoken.training.data.mixing import Mixture
from atoken.training.data.shard_order import ShardSource
from atoken.training.data.sources import open_source
from atoken.training.data.tar_index import main, matching_files

from .picture_sources import write_pictures

SHARDS = ("parquet", "webdataset", "hub")


def opened(entry: dict, seed: int = 5) -> ShardSource:
    return open_source(entry, "image", seed, openers=OPENERS)


def names(source: ShardSource, first: int, count: int) -> list[int]:
    return [int(source.draw(number)()["caption"].split()[-1]) for number in range(first, first + count)]


@pytest.mark.parametrize("kind", SHARDS)
def test_every_example_comes_once_an_epoch_in_a_new_order(kind, tmp_path):
    entry = write_pictures(kind, tmp_path)
    del entry["size"]
    source = opened(entry)
    assert source.length == source.size == 12
    epochs = [names(source, 12 * epoch, 12) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    # Any number is known without those before it, and another process finds the same.
    assert names(opened(entry), 20, 7) == (epochs[1] + epochs[2])[8:15]


@pytest.mark.parametrize("kind", SHARDS)
def test_captions_belong_to_their_pictures(kind, tmp_path):
    source = opened(write_pictures(kind, tmp_path))
    for number in range(12):
        example = source.draw(number)()
        with Image.open(io.BytesIO(example["media"])) as image:
            assert image.getpixel((0, 0))[0] == 20 * int(example["caption"].split()[-1])


def test_groups_stay_together_and_are_shuffled():
    lengths = np.array([5, 1, 7, 3, 4, 6])
    source = ShardSource("groups", lambda index: {"media": index}, lengths, 0)
    groups = np.repeat(np.arange(6), lengths)
    orders = []
    for epoch in range(4):
        found = source.indices(np.arange(26) + 26 * epoch)
        assert sorted(found.tolist()) == list(range(26))
        order = groups[found]
        assert (np.diff(order) != 0).sum() == 5
        orders.append(order[np.concatenate([[True], np.diff(order) != 0])].tolist())
    assert len({tuple(order) for order in orders}) == 4
    across = source.indices(np.array([25, 26, 24, 51]))
    assert across.tolist() == [int(source.indices(np.array([number]))[0]) for number in (25, 26, 24, 51)]


def test_an_epoch_of_all_processes_reads_every_byte_of_a_tar_once(tmp_path, monkeypatch):
    entry, reads, pread = write_pictures("webdataset", tmp_path), [], os.pread
    mixtures = [Mixture([opened(entry)], 0) for _ in range(4)]
    monkeypatch.setattr(os, "pread", lambda *given: (reads.append(given[1:]), pread(*given))[1])
    for number in range(12):
        mixtures[number % 4].read(number)
    media = sum(len(opened(entry).draw(number)()["media"]) for number in range(12))
    first = reads[:24]
    # A picture and its caption each, of twelve different examples.
    assert len(reads) == 48 and sum(count for count, _ in first) == media + sum(len(f"picture {i}") for i in range(12))


def test_an_index_is_made_once_and_again_when_tars_change(tmp_path, monkeypatch):
    entry = write_pictures("webdataset", tmp_path)
    opened(entry)
    (folder,) = tmp_path.glob(".atoken-index-*")
    monkeypatch.setattr("atoken.training.data.shards.write_index", lambda *given: pytest.fail("indexed again"))
    opened(entry)
    monkeypatch.undo()
    os.utime(tmp_path / "0.tar", (1, 1))
    opened(entry)
    assert len(list(tmp_path.glob(".atoken-index-*"))) == 2


def test_processes_that_index_at_once_take_the_index_that_is_done_first(tmp_path, monkeypatch):
    entry, usual, other = write_pictures("webdataset", tmp_path), tar_index.index_tar, {}

    def slow(*given):
        if not other:
            other["begins"] = True
            other["source"] = opened(entry)
            other["place"] = [folder.stat().st_ino for folder in tmp_path.glob(".*index-*") if any(folder.iterdir())]
        return usual(*given)

    monkeypatch.setattr(tar_index, "index_tar", slow)
    source = opened(entry)
    (folder,) = tmp_path.glob(".*index-*")
    assert [folder.stat().st_ino] == other["place"]
    assert names(source, 0, 12) == names(other["source"], 0, 12)


def test_an_index_knows_how_large_pictures_are(tmp_path):
    entry = write_pictures("webdataset", tmp_path)
    main(tmp_path / "index", [entry["files"]], "png", "txt", 2)
    source = opened({**entry, "index": str(tmp_path / "index")})
    assert not list(tmp_path.glob(".atoken-index-*"))
    np.testing.assert_allclose(source.sides(np.arange(30)), 1200**0.5, rtol=1e-6)
    assert np.isinf(opened(write_pictures("parquet", tmp_path)).sides(np.arange(3))).all()


def test_a_tar_that_changed_behind_its_index_is_named(tmp_path):
    entry = {**write_pictures("webdataset", tmp_path), "index": str(tmp_path / "index")}
    opened(entry)
    for path in tmp_path.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="tar must be as it was indexed, got .*tar, which is shorter; index it again"):
        opened(entry).draw(0)()
    with pytest.raises(ValueError, match="index must be of media 'jpg' and caption 'txt', got .* of 'png' and 'txt'"):
        opened({**entry, "media": "jpg"})


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"source": "webdataset", "files": "{0}/none*.tar"}, FileNotFoundError, "files: there is none that matches"),
        ({"source": "webdataset", "media": "jpg"}, ValueError, "media must be the ending of files .*, got 'jpg'"),
        ({"source": "webdataset", "files": "{0}/text"}, ValueError, "files must be tars that are not compressed"),
        (
            {"source": "webdataset", "index": "{0}/text"},
            ValueError,
            "index must be a folder that tar_index has written",
        ),
        (
            {"source": "parquet", "media": "a"},
            ValueError,
            "media and caption must be among the columns image, text, got",
        ),
        ({"source": "hub", "split": "test"}, ValueError, "split must be one of train of .*, got 'test'"),
    ],
)
def test_wrong_options_are_named(changes, error, message, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "text").write_text("this is neither a tar nor an index")
    entry = {**write_pictures(changes["source"], tmp_path / "shards"), **changes}
    entry = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in entry.items()}
    with pytest.raises(error, match=message):
        opened(entry)


def test_files_of_several_patterns_are_each_found_once(tmp_path):
    write_pictures("webdataset", tmp_path)
    found = matching_files([f"{tmp_path}/*.tar", f"{tmp_path}/0.tar"])
    assert [path.name for path in found] == ["0.tar", "1.tar"]
