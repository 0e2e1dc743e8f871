"""Clips as one tile each, and through the temporal cache with gradients."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

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


def counted(model: AtokenModel, tiles: Tiles) -> int:
    """What torch counts of the forward pass of clips through encoder and decoder."""
    batch = clips(5)
    options = tiles.options(batch, step=0)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        latents = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False, **options).latents
        model.decode(latents, batch.coords, batch.cu_seqlens, **options)
    return counter.get_total_flops()


@pytest.mark.parametrize("options", [{"frames": "sample"}, {"frames": 8}, {"frames": "sample", "cached_share": 1.0}])
def test_operations_are_those_of_the_tiles(model, options):
    # All but attention costs the same, and attention in tiles of one latent frame is what is left then.
    model.set_attn_implementation("eager")
    plain, tiles = Tiles(model.config, 4), Tiles(model.config, **options)
    more = counted(model, tiles) - counted(model, plain)
    found = [Objective(model, WEIGHTS, tiles=each).count_flops(clips(5)) for each in (tiles, plain)]
    assert more > 0 and (found[0] - found[1]) / 3 == pytest.approx(more, rel=1e-9)


def test_operations_are_the_mean_of_steps_with_and_without_the_cache(model):
    every, none, some = (
        Objective(model, WEIGHTS, tiles=Tiles(model.config, "sample", share)).count_flops(clips(5))
        for share in (1.0, 0.0, 0.25)
    )
    assert every < none and some == pytest.approx(0.25 * every + 0.75 * none)


@pytest.mark.parametrize("latent_frames, step_frames, windows", [(1, 16, 2), (1, 20, 3), (3, 24, 3), (4, 16, 2)])
def test_processes_with_shorter_clips_run_as_many_windows(model, latent_frames, step_frames, windows):
    objective = Objective(model, WEIGHTS, tiles=Tiles(model.config, "sample", cached_share=1.0)).train()
    blocks, runs, found = [tower.blocks[-1] for tower in (model.vision_model, model.decoder)], [], []
    for planned in (None, step_frames):
        batch = clips(latent_frames)
        batch.step_frames = planned
        hooks = [block.register_forward_hook(lambda *_: runs.append("forward")) for block in blocks]
        hooks += [block.register_full_backward_hook(lambda *_: runs.append("backward")) for block in blocks]
        runs.clear()
        objective.zero_grad()
        parts = objective(batch, Share(1.0, 1.0))
        parts["loss"].backward()
        found.append([*parts.values(), *(block.attn.qkv.weight.grad.clone() for block in blocks)])
        for hook in hooks:
            hook.remove()
    assert [runs.count(name) for name in ("forward", "backward")] == [2 * windows] * 2
    # What makes the windows up counts for nothing.
    for alone, beside in zip(*found, strict=True):
        torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-7)


def test_only_steps_through_the_cache_have_windows_to_make_up(model):
    batch = clips(1)
    batch.step_frames = 16
    assert Tiles(model.config, "sample").packed(batch, 0)[0] is batch.pixel_values
    pixel_values, coords, cu_seqlens = Tiles(model.config, cached_share=1.0).packed(batch, 0)
    assert torch.equal(pixel_values[:8], batch.pixel_values) and not pixel_values[8:].any()
    assert coords[8:].tolist() == [[0, 0, 0, 0], [2, 0, 0, 0]] and cu_seqlens.tolist() == [0, 4, 8, 10]


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
