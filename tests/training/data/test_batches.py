"""Samples, sources and batches of training: sizes, mixtures, budgets, damage, and going on where a run stopped."""

import io
import tarfile

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from atoken.processing.media_reading_atoken import write_video
from atoken.training.data.batches import Batches, Mixture, TooManyUnreadable
from atoken.training.data.clips import each_second, read_frames, strided
from atoken.training.data.samples import Limits, TooLarge, make_sample, patches_that_fit
from atoken.training.data.sources import IndexedSource, open_source
from atoken.training.data.tasks import open_tasks, read_data

from .stage_samples import write_objects, write_photos

LIMITS = Limits(image_resolution=(32, 96), video_resolution=(32, 32), frames=(4, 8), max_tokens=64)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def png(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("height, width", [(480, 640), (1000, 250), (333, 333), (64, 4000)])
@pytest.mark.parametrize("side", [64.0, 200.0, 511.0])
def test_pictures_keep_their_aspect_ratio(height, width, side):
    rows, columns = patches_that_fit(height, width, side, most=4096)
    assert rows * columns <= 4096
    exact = side * (height / width) ** 0.5 / 16, side * (width / height) ** 0.5 / 16
    if min(exact) >= 1:
        assert abs(rows - exact[0]) <= 0.5 and abs(columns - exact[1]) <= 0.5


def test_a_picture_never_has_more_patches_than_fit():
    for height, width in ((100, 1000), (1000, 100), (500, 500), (10, 5000)):
        for most in (1, 3, 16, 100):
            rows, columns = patches_that_fit(height, width, 2048.0, most)
            assert 1 <= rows * columns <= most


def test_resolutions_cover_the_range(tmp_path):
    path = next(write_photos(tmp_path).iterdir())
    sides = []
    for seed in range(60):
        sample = make_sample("image_reconstruction", {"media": path}, LIMITS, rng(seed))
        assert sample.pixel_values.shape == (len(sample), 3072) and sample.pixel_values.abs().max() <= 1
        assert sample.grid[1] * sample.grid[2] == len(sample) and not sample.pixel_values[:, 768:].any()
        sides.append(16 * len(sample) ** 0.5)
    assert 28 <= min(sides) <= 40 and 88 <= max(sides) <= 100


def test_strides_are_those_of_the_paper():
    strides = set()
    for seed in range(200):
        frames = list(strided(16, rng(seed))(400, 25.0))
        assert len(frames) == 16 and frames[0] >= 0 and frames[-1] < 400
        strides.add(frames[1] - frames[0])
    assert strides == set(range(1, 13))
    # Of a short video the frames are as far apart as they can be.
    assert {list(strided(4, rng(seed))(8, 25.0))[1] - list(strided(4, rng(seed))(8, 25.0))[0] for seed in range(9)} <= {
        1,
        2,
    }
    with pytest.raises(ValueError, match="the video has 3 frames; 4 are wanted"):
        strided(4, rng())(3, 25.0)


def test_one_frame_a_second_at_most_so_many():
    assert each_second(64)(100, 25.0) == [12, 37, 62, 87]
    assert len(each_second(64)(25 * 600, 25.0)) == 64
    assert each_second(64)(3, 25.0) == [1]


def test_frames_of_a_file_are_those_asked_for(tmp_path):
    frames = np.zeros((40, 32, 32, 3), dtype=np.uint8) + (6 * np.arange(40, dtype=np.uint8))[:, None, None, None]
    path = tmp_path / "grey.mp4"
    write_video(path, frames, fps=10)
    for wanted in ([0], [5, 7, 9], [30, 39], list(range(40))):
        found = read_frames(path, lambda total, fps, wanted=wanted: wanted)
        assert found.shape == (len(wanted), 3, 32, 32)
        levels = found.float().mean((1, 2, 3))
        torch.testing.assert_close(levels, 6.0 * torch.tensor(wanted), atol=2.5, rtol=0)
        torch.testing.assert_close(read_frames(path.read_bytes(), lambda t, f, w=wanted: w), found, atol=0, rtol=0)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_frames(path, lambda total, fps: [0])


def test_objects(tmp_path):
    path = sorted(write_objects(tmp_path).iterdir())[0]
    whole = make_sample("3d_reconstruction", {"media": path}, LIMITS, rng())
    assert whole.views.shape == (2, 3, 32, 32) and len(whole.cameras) == 2 and whole.grid is None
    few = Limits(max_tokens=64, object_voxels=7)
    part = make_sample("3d_understanding", {"media": path, "caption": "a ball"}, few, rng())
    assert len(part) == 7 and part.caption == "a ball"
    everything = {tuple(c): p for c, p in zip(whole.coords.tolist(), whole.pixel_values, strict=True)}
    assert all(
        torch.equal(everything[tuple(c)], p) for c, p in zip(part.coords.tolist(), part.pixel_values, strict=True)
    )
    with pytest.raises(TooLarge, match="20 voxels; at most 8 fit"):
        make_sample("3d_reconstruction", {"media": path}, Limits(max_voxels=8), rng())


@pytest.fixture(params=["folder", "parquet", "webdataset", "hub"])
def pictures(request, tmp_path):
    """The entry of a source with twelve pictures of different colours and their captions."""
    colors = [(20 * index, 0, 255 - 20 * index) for index in range(12)]
    names = [f"picture {index}" for index in range(12)]
    if request.param == "folder":
        for index, color in enumerate(colors):
            (tmp_path / f"{index:02d}.png").write_bytes(png(color))
            (tmp_path / f"{index:02d}.txt").write_text(names[index])
        return {"source": "folder", "path": str(tmp_path)}
    if request.param == "webdataset":
        for shard in range(2):
            with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
                for index in range(6 * shard, 6 * shard + 6):
                    for ending, content in (("png", png(colors[index])), ("txt", names[index].encode())):
                        info = tarfile.TarInfo(f"{index:02d}.{ending}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
        return {"source": "webdataset", "files": f"{tmp_path}/*.tar", "media": "png", "caption": "txt", "size": 12}
    rows = {"image": [{"bytes": png(color), "path": None} for color in colors], "text": names}
    for shard in range(2):
        part = {name: values[6 * shard : 6 * shard + 6] for name, values in rows.items()}
        Dataset.from_dict(part).to_parquet(tmp_path / f"{shard}.parquet")
    place = {"files": f"{tmp_path}/*.parquet"} if request.param == "parquet" else {"repo": str(tmp_path)}
    return {"source": request.param, **place, "media": "image", "caption": "text", "size": 12}


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


@pytest.mark.parametrize(
    "entry, kind, message",
    [
        ({"source": "tape"}, "image", "source: expected one of folder, "),
        ({"source": "folder"}, "image", "source folder: .*path"),
        ({"source": "folder", "path": "{empty}"}, "image", "there is nothing in it"),
        ({"source": "folder", "path": "{empty}"}, "object", "a folder holds images or videos"),
        ({"source": "folder", "path": "nowhere"}, "image", "path: no folder nowhere"),
        ({"source": "objects", "path": "{empty}"}, "image", "objects were given where a image is wanted"),
        ({"source": "miniature"}, "object", "prepared first"),
        ({"source": "parquet", "media": "image", "size": 3}, "image", "expected files"),
        ({"source": "parquet", "files": "x", "size": 3}, "image", "source parquet: .*media"),
        ({"source": "pans", "path": "{empty}"}, "image", "pans are videos"),
    ],
)
def test_wrong_sources_are_named(entry, kind, message, tmp_path):
    entry = {
        key: str(value).replace("{empty}", str(tmp_path)) if key == "path" else value for key, value in entry.items()
    }
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_source(entry, kind, 0)


def test_wrong_data_files_are_named(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("image_understanding: {source: miniature}\n")
    with pytest.raises(ValueError, match="expected tasks, each with a list of sources"):
        read_data(path)
    data = {"image_understanding": [{"source": "miniature"}]}
    options = (LIMITS, None, 16, 0, 0, 2, 1)
    with pytest.raises(ValueError, match="data: there are no sources of video_reconstruction"):
        open_tasks(["video_reconstruction"], data, {"video_reconstruction": 2}, *options)
    with pytest.raises(ValueError, match="batch_sizes: 3 of image_understanding cannot be shared by 2 processes"):
        open_tasks(["image_understanding"], data, {"image_understanding": 3}, *options)
