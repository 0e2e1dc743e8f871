"""JPEG, WebP, AVIF, H.264, H.265 and AV1 at a rate: budgets, sizes, and that what is counted is what is stored."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.evaluation.models.image_codecs import ImageCodec
from atoken.evaluation.models.rate_search import largest_within
from atoken.evaluation.models.video_codecs import VideoCodec
from atoken.tokenizing.quality import psnr

from ...processing.samples import photo, smooth_clip


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo(123, 97))).permute(2, 0, 1)[None]


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(smooth_clip(7, 67, 85))).permute(0, 3, 1, 2)


@pytest.mark.parametrize("sizes", [[1, 2, 3, 4], [3, 3, 3, 3], [9, 9, 9, 9]])
def test_the_largest_file_within_the_budget_is_found(sizes):
    budget = 3
    found = len(largest_within(lambda quality: bytes(sizes[quality]), 0, 3, budget))
    assert found == max((size for size in sizes if size <= budget), default=sizes[0])


@pytest.mark.parametrize("codec", ["jpeg", "webp", "avif"])
def test_images_come_back_in_their_size_within_the_rate(codec, image):
    qualities = []
    for rate in (2.0, 4.0):
        tokenizer = ImageCodec(codec, rate)
        encoded = tokenizer.encode(image)
        assert encoded.bits == 8 * len(encoded.payload) <= rate * 123 * 97
        result = tokenizer.decode(encoded)
        assert result.shape == image.shape and result.dtype == torch.uint8
        # The file is an ordinary one.
        np.testing.assert_array_equal(
            np.array(Image.open(io.BytesIO(encoded.payload)).convert("RGB")), result[0].permute(1, 2, 0)
        )
        qualities.append(psnr(result, image))
    assert qualities[0] < qualities[1]


def test_a_rate_that_cannot_be_met_is_reported_as_it_is(image):
    encoded = ImageCodec("jpeg", 0.001).encode(image)
    assert encoded.bits > 0.001 * 123 * 97


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_clips_come_back_in_their_size_within_the_rate(codec, clip):
    tokenizer = VideoCodec(codec, 1.5)
    encoded = tokenizer.encode(clip)
    assert encoded.bits <= 1.5 * 7 * 67 * 85
    result = tokenizer.decode(encoded)
    assert result.shape == clip.shape and result.dtype == torch.uint8
    worst = tokenizer.decode(VideoCodec(codec, 1e-6).encode(clip))
    assert psnr(result, clip) > max(25, psnr(worst, clip))
    assert tokenizer.encode(clip).bits == encoded.bits
    # The best there is costs most.
    assert VideoCodec(codec, 100.0).encode(clip).bits > encoded.bits


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux")
def test_no_encoder_makes_this_thread_a_real_time_one(clip):
    """SVT-AV1 does so to the thread that opens it, if that is root's, and from there it spreads."""
    before = os.sched_getscheduler(0)
    VideoCodec("av1", 1.5).encode(clip)
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: ImageCodec("gif", 1.0), "codec"),
        (lambda: ImageCodec("jpeg", 0), "bits_per_pixel"),
        (lambda: VideoCodec("vp8", 1.0), "codec"),
        (lambda: VideoCodec("h264", -1), "bits_per_pixel"),
        (lambda: ImageCodec("jpeg", 1.0).encode(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)), "one frame"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
