"""Sources of media: each example once an epoch, told by its number alone, wrong ones named."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing.media_reading_atoken import write_video
from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.training.data.drawn_sources import OPENERS
from atoken.training.data.sources import IndexedSource, Source, open_source

from .picture_sources import SOURCES, png, write_pictures


@pytest.fixture(params=SOURCES)
def pictures(request, tmp_path):
    return write_pictures(request.param, tmp_path)


def drawn(source: Source, first: int, count: int) -> list[dict]:
    return [source.draw(number)() for number in range(first, first + count)]


def indices(examples: list[dict]) -> list[int]:
    return [int(example["caption"].split()[-1]) for example in examples]


def test_every_source_gives_each_picture_once_an_epoch_in_a_new_order(pictures):
    source = open_source(pictures, "image", 5, OPENERS)
    assert source.size == 12
    epochs = [indices(drawn(source, 12 * epoch, 12)) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_captions_belong_to_their_pictures(pictures):
    for example in drawn(open_source(pictures, "image", 5, OPENERS), 0, 12):
        media = example["media"]
        with Image.open(io.BytesIO(media) if isinstance(media, bytes) else media) as image:
            assert image.getpixel((0, 0))[0] == 20 * int(example["caption"].split()[-1])


def test_sources_tell_an_example_by_its_number_alone(pictures):
    expected = indices(drawn(open_source(pictures, "image", 5, OPENERS), 0, 28))
    assert indices(drawn(open_source(pictures, "image", 5, OPENERS), 13, 15)) == expected[13:]


def test_a_folder_has_what_is_evaluated_of_it(tmp_path):
    """Takes an animated picture for a video, whatever its suffix, and leaves out what is neither."""
    moments = [Image.fromarray(np.full((32, 32, 3), 80 * index, dtype=np.uint8)) for index in range(3)]
    for name in ("a.gif", "b.webp", "c.png"):
        moments[0].save(tmp_path / name, save_all=True, append_images=moments[1:], duration=100)
        moments[0].save(tmp_path / f"still {name}")
    (tmp_path / "d").mkdir()
    moments[0].save(tmp_path / "d/e.jpg")
    write_video(tmp_path / "d/f.mp4", np.zeros((4, 32, 32, 3), dtype=np.uint8), fps=10)
    for name in ("a.txt", "mesh.glb", "notes.md"):
        (tmp_path / name).write_text("a caption")

    def files(kind):
        source = open_source({"source": "folder", "path": str(tmp_path)}, kind, 0, OPENERS)
        return sorted(example["media"].relative_to(tmp_path).as_posix() for example in drawn(source, 0, source.length))

    assert files("video") == ["a.gif", "b.webp", "c.png", "d/f.mp4"]
    assert files("image") == ["d/e.jpg", "still a.gif", "still b.webp", "still c.png"]


def test_no_file_is_looked_into_whose_suffix_tells_enough(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.png", "c.txt", "d.mp4"):
        (tmp_path / name).write_bytes(png((1, 2, 3)))
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, **options: (opened.append(path.name), real(path, **options))[1])
    assert open_source({"source": "folder", "path": str(tmp_path)}, "image", 0, OPENERS).length == 2
    assert opened == ["b.png"]


def test_videos_of_a_small_folder_stay_in_memory_where_that_is_asked_for(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((4, 32, 32, 3), dtype=np.uint8), fps=10)
    entry = {"source": "folder", "path": str(tmp_path), "keep_decoded": True}
    source = open_source(entry, "video", 0, OPENERS)
    first, second = (example["media"] for example in drawn(source, 0, 2))
    assert first.shape == (4, 3, 32, 32) and first.dtype == torch.uint8 and first is second


def test_openers_can_be_added(tmp_path):
    def open_numbers(kind, seed, length):
        return IndexedSource("numbers", lambda index: {"media": index}, length, seed, None)

    entry = {"source": "numbers", "length": 4}
    source = open_source(entry, "image", 0, openers={**OPENERS, "numbers": open_numbers})
    assert sorted(example["media"] for example in drawn(source, 0, 4)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="source must be one of folder, pans, .*, hub, got 'numbers'"):
        open_source(entry, "image", 0, OPENERS)


@pytest.mark.parametrize(
    "entry, kind, message",
    [
        ({"source": "tape"}, "image", "source must be one of folder, "),
        ({"source": "folder"}, "image", "source folder: path must be given, got no options"),
        ({"source": "folder", "path": "{empty}", "szie": 3}, "image", "source folder: options must be .*got szie"),
        ({"source": "folder", "path": "{empty}"}, "image", "there is nothing in it"),
        ({"source": "folder", "path": "{empty}"}, "object", 'kind must be "image" or "video" for a folder'),
        ({"source": "folder", "path": "nowhere"}, "image", "path: there is no folder nowhere"),
        ({"source": "parquet", "media": "image", "size": 3}, "image", "source parquet: files must be given, got media"),
        ({"source": "parquet", "files": "x", "size": 3}, "image", "source parquet: media must be given"),
        ({"source": "hub", "files": "x", "media": "a", "size": 3}, "image", "source hub: options must be .*got files"),
    ],
)
def test_wrong_sources_are_named(entry, kind, message, tmp_path):
    entry = {key: str(tmp_path) if value == "{empty}" else value for key, value in entry.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_source(entry, kind, 0, OPENERS)


def test_a_column_that_is_not_there_is_named(tmp_path):
    entry = {**write_pictures("parquet", tmp_path), "media": "picture"}
    with pytest.raises(ValueError, match="media and caption must be among the columns image, text, got 'picture'"):
        open_source(entry, "image", 0, OPENERS)


def test_a_folder_names_what_it_passes_over(tmp_path):
    for name in ("a.png", "a.txt", ".hidden.psd", "b.mp4", *(f"c{index:02}.psd" for index in range(12))):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(MediaWarning, match=r"passed over, 12 of them: c00\.psd, .*c09\.psd and 2 more$"):
        assert open_source({"source": "folder", "path": str(tmp_path)}, "image", 0, OPENERS).length == 1
