"""GPU hours by counting: operations against a count by hand and PyTorch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from atoken.evaluation.paper.counting import PEAK, UTILIZATION, Media, hours_text, operations, transformer_operations

from ...modeling.helpers import as_tokens, make_model, media


def test_an_image_of_256_pixels():
    # 256 tokens through 27 blocks of width 1152: two operations for each of 4 d^2 + 2 d i weights and for 2 L d of
    # attention, L = 256 and i = 4304.
    by_hand = 27 * 256 * 2 * (4 * 1152**2 + 2 * 1152 * 4304 + 2 * 256 * 1152)
    assert (
        operations([Media.images(1, 256, decoded=False)]) == pytest.approx(by_hand) == pytest.approx(2.19e11, rel=0.01)
    )
    assert operations([Media.images(3, 256)]) == pytest.approx(6 * by_hand)


def test_blocks_are_what_pytorch_counts():
    config = {"num_hidden_layers": 1}, {"num_hidden_layers": 5}
    found = []
    for options in config:
        model = make_model(vision=options)
        features, coords = as_tokens(media(4, 3, 64, 96))
        # The counter knows products of matrices, and not the fused kernel of attention.
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model.encode(features, coords, torch.tensor([0, len(features)], dtype=torch.int32), pool=False)
        found.append(counter.get_total_flops())
        own = transformer_operations(model.config.vision_config, len(features))
    assert found[1] - found[0] == pytest.approx(own * 4 / 5, rel=0.01)


def test_hours_say_how_they_were_counted():
    images = [Media.images(500_000, 256)]
    text = hours_text(images)
    assert text.startswith(f"{operations(images) / PEAK / UTILIZATION / 60:.1f} minutes")
    assert "500,000 images of 256 x 256" in text and "assumption" in text


def test_videos_are_counted_in_tiles():
    video = Media.videos("x", 33, 1080, 1920)
    assert (video.sequences, video.tokens) == (3, 4 * 68 * 120)
