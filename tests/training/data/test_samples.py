"""Samples of training: their sizes, which frames, and what is left of objects."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvF

from atoken.processing.pil_decoding_atoken import stored_to_rgb
from atoken.training.data import samples
from atoken.training.data.clips import each_second, strided
from atoken.training.data.limits import Draw, Limits, patches_that_fit, side_within
from atoken.training.data.samples import TooLarge, make_sample

from ..stage_samples import write_objects

LIMITS = Limits(image_resolution=(32, 96), video_resolution=(32, 32), frames=(4, 8), max_tokens=64)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


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


def test_resolutions_cover_the_range():
    picture = torch.zeros(3, 200, 180, dtype=torch.uint8)
    sides = []
    for seed in range(60):
        sample = make_sample("image_reconstruction", {"media": picture}, LIMITS, rng(seed))
        assert sample.pixel_values.shape == (len(sample), 768) and sample.pixel_values.dtype == torch.uint8
        assert sample.grid[1] * sample.grid[2] == len(sample)
        sides.append(16 * len(sample) ** 0.5)
    assert 28 <= min(sides) <= 40 and 88 <= max(sides) <= 100


@pytest.mark.parametrize("height, width", [(70, 60), (90, 120), (20, 24), (300, 300)])
def test_media_are_never_enlarged(height, width):
    """Rounding to whole patches may add up to half of one."""
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    limits = Limits(image_resolution=(32, 256), video_resolution=(32, 256), frames=(4,))
    for share in (0.0, 0.3, 0.999):
        for task, media in (("image_reconstruction", picture), ("video_reconstruction", picture.expand(6, -1, -1, -1))):
            _, rows, columns = make_sample(task, {"media": media}, limits, rng(), Draw(share, 4)).grid
            assert 16 * rows <= max(16, height + 8) and 16 * columns <= max(16, width + 8)
    # What is large enough has all sizes of the range.
    assert side_within((32, 256), 300.0, 0.5) == 144 and side_within((32, 256), np.inf, 0.0) == 32
    # A smaller medium has those up to its own.
    assert side_within((32, 256), 96.0, 0.5) == 64 and side_within((32, 256), 20.0, 0.5) == 20


@pytest.mark.parametrize("mode, size", [("RGB", (90, 70)), ("L", (90, 70)), ("RGB", (64, 48))])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pictures_of_files_are_resized_as_torchvision_does(tmp_path, mode, size, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG", exif=exif)
    (tmp_path / "picture.png").write_bytes(file.getvalue())
    picture = np.array(Image.open(file).convert("RGB"))
    upright = np.rot90(picture, -1) if orientation == 6 else picture
    limits = Limits(understanding_tokens=12)
    for media in (file.getvalue(), tmp_path / "picture.png"):
        sample = make_sample("image_understanding", {"media": media, "caption": "noise"}, limits, rng())
        _, rows, columns = sample.grid
        wanted = tvF.resize(
            torch.from_numpy(upright.copy()).permute(2, 0, 1), [16 * rows, 16 * columns], antialias=True
        )
        patches = wanted.unfold(1, 16, 16).unfold(2, 16, 16)  # (3, rows, columns, 16, 16)
        assert torch.equal(sample.pixel_values, patches.permute(1, 2, 3, 4, 0).reshape(len(sample), -1))


@pytest.mark.parametrize("size", [(400, 300), (401, 303)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpegs_are_decoded_at_a_part_of_their_size(size, orientation, monkeypatch):
    """Twice what is wanted remains, and hides it: less changes than another filter would change."""
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    smooth.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=95, exif=exif)
    decoded = []

    def noted(picture, *arguments, **options):
        decoded.append(picture.color.shape[:2])
        return stored_to_rgb(picture, *arguments, **options)

    monkeypatch.setattr(samples, "stored_to_rgb", noted)
    limits = Limits(image_resolution=(64, 80))
    reduced = make_sample("image_reconstruction", {"media": file.getvalue()}, limits, rng(), Draw(0.999))
    assert decoded[0] == (-(-size[1] // 2), -(-size[0] // 2))
    monkeypatch.setattr(samples, "_SHRINK", 100)
    whole = make_sample("image_reconstruction", {"media": file.getvalue()}, limits, rng(), Draw(0.999))
    assert decoded[1] == size[::-1] and whole.grid == reduced.grid
    difference = (whole.pixel_values.float() - reduced.pixel_values.float()).square().mean()
    assert 10 * torch.log10(255**2 / difference) > 40


def test_a_clip_that_is_shorter_than_drawn_gives_what_it_has():
    for total, expected in ((3, 3), (4, 4), (7, 4), (9, 8), (16, 16), (40, 16)):
        clip = torch.zeros(total, 3, 32, 32, dtype=torch.uint8)
        sample = make_sample("video_reconstruction", {"media": clip}, LIMITS, rng(), Draw(0.0, 16))
        assert sample.frames == expected and sample.grid[0] == -(-expected // 4)


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
    assert {tuple(strided(4, rng(seed))(3, 25.0)) for seed in range(9)} == {(0, 1, 2)}
    assert {len(strided(16, rng(seed))(15, 25.0)) for seed in range(9)} == {12}


def test_one_frame_a_second_at_most_so_many():
    assert each_second(64)(100, 25.0) == [12, 37, 62, 87]
    assert len(each_second(64)(25 * 600, 25.0)) == 64
    assert each_second(64)(3, 25.0) == [1]


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
    with pytest.raises(TooLarge, match="object must have at most 8 voxels, got 20"):
        make_sample("3d_reconstruction", {"media": path}, Limits(max_voxels=8), rng())
