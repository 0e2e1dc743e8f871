"""Clips as one tile each, and through the temporal cache with gradients."""

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.training.contracts import Share
from atoken.training.tokenizer.objective import Objective
from atoken.training.tokenizer.tiles import Tiles

from .test_micro_batches import pack

SIZE = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "tile_frames": 8}
WEIGHTS = {"image": {"l1": 1.0}, "video": {"l1": 1.0}, "3d": {"l1": 1.0}}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AtokenModel(AtokenConfig(vision_config=SIZE, decoder_config=SIZE, latent_channels=12))


def clips(frames: int = 4):
    generator = torch.Generator().manual_seed(0)
    patches = [torch.rand(frames * 4, 3072, generator=generator) * 2 - 1 for _ in range(2)]
    return pack("video_reconstruction", patches, [(frames, 2, 2)] * 2, [1, 2], None)


def reach(model: AtokenModel, tiles: Tiles) -> list[bool]:
    """Tells which latent frames of the first clip the pixels of its last latent frame have a gradient in."""
    batch = clips()
    pixels = batch.pixel_values.clone().requires_grad_()
    options = tiles.options(batch, step=0)
    encoded = model.encode(pixels, batch.coords, batch.cu_seqlens, pool=False, **options)
    decoded = model.decode(encoded.latents, batch.coords, batch.cu_seqlens, **options).pixel_values
    decoded[12:16].sum().backward()
    assert not pixels.grad[16:].any()
    return [bool(frame.any()) for frame in pixels.grad[:16].split(4)]


def test_what_a_frame_sees(model):
    assert reach(model, Tiles(model.config)) == [False, False, True, True]
    assert reach(model, Tiles(model.config, 4)) == [False, False, False, True]
    assert reach(model, Tiles(model.config, "sample")) == [True, True, True, True]
    # Two windows: the second sees the first through the cache, with gradients.
    assert reach(model, Tiles(model.config, "sample", cached_share=1.0)) == [True, True, True, True]


def test_layouts_are_of_the_same_tiles(model):
    batch = clips()
    for frames, latent_frames in ((None, 2), (4, 1), ("sample", 4)):
        tiles = Tiles(model.config, frames)
        layout = tiles.layout(batch.task, batch.coords, batch.lengths)
        assert layout.tile == latent_frames
        found = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, layout=layout).latents
        options = tiles.options(batch, 0)
        expected = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, **options).latents
        assert torch.equal(found, expected)


def test_a_share_of_the_steps_goes_through_the_cache(model):
    tiles, batch = Tiles(model.config, "sample", cached_share=0.25, seed=3), clips()
    cached = ["cache_frames" in tiles.options(batch, step) for step in range(2000)]
    assert 0.22 < sum(cached) / len(cached) < 0.28
    batch.task = "video_understanding"
    assert not any("cache_frames" in tiles.options(batch, step) for step in range(50))


def test_training_through_the_cache_reaches_both_sides(model):
    objective = Objective(model, WEIGHTS, tiles=Tiles(model.config, "sample", cached_share=1.0)).train()
    objective(clips(), Share(1.0, 1.0))["loss"].backward()
    for tower in (model.vision_model, model.decoder):
        assert tower.blocks[0].attn.qkv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"frames": 6}, 'tile_frames must be "sample" or a multiple of 4, got 6'),
        ({"frames": "clip"}, "tile_frames must be \"sample\" or a multiple of 4, got 'clip'"),
        ({"cached_share": 2}, "cached_share must be from 0 to 1, got 2"),
    ],
)
def test_wrong_options_are_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        Tiles(model.config, **options)
