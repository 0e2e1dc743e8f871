"""Samples of tars and media of tables, which corpora and training have to see alike."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atoken.tokenizing.corpus.shard_sources import TarSource
from atoken.tokenizing.shard_samples import medium_of_cell
from atoken.training.data.shards import open_webdataset


def png(gray: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), gray, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def tar(tmp_path) -> Path:
    """A tar with hidden files, endings in capitals, a folder, two dots in a name, and one name in two folders."""
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in (
            ("./a/1.png", png(10)),
            ("./a/._1.png", b"of a Mac"),
            ("./a/1.txt", b"one"),
            ("a/2.PNG", png(20)),
            ("a/2.TXT", b"two"),
            ("b/2.png", png(30)),
            ("b/2.seg.png", png(99)),
            ("b/2.txt", b"three"),
            ("b/3.txt", b"without a picture"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


EXPECTED = [(png(10), "one"), (png(20), "two"), (png(30), "three")]


def test_corpora_and_training_find_the_same_samples(tar):
    source = TarSource([tar], "image", "png", {"caption": "txt"})
    rows = list(source.rows(source.units(1)[0]))
    assert [row.key for row in rows] == ["a/1", "a/2", "b/2", "b/3"] and rows[3].error is not None
    assert [(row.media, row.columns["caption"]) for row in rows[:3]] == EXPECTED
    trained = open_webdataset("image", 0, str(tar), "png", caption="txt")
    assert [tuple(trained.read(place).values()) for place in range(trained.length)] == EXPECTED


def test_media_of_cells():
    assert medium_of_cell(b"x") == (b"x", "")
    assert medium_of_cell("a/b.png") == (Path("a/b.png"), "a/b.png")
    assert medium_of_cell({"bytes": b"x", "path": "b.png"}) == (b"x", "b.png")
    assert medium_of_cell({"bytes": None, "path": "b.png"}) == (Path("b.png"), "b.png")
    assert medium_of_cell({"bytes": None, "path": None}) == (None, "")
    assert medium_of_cell(3) == (None, "")
