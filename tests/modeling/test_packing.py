"""However tokens are grouped into calls, batches, tiles and pieces of a stream, each gets the same result."""

import weakref

import numpy as np
import pytest
import torch

from atoken.conversion_atoken import to_original_state_dict
from atoken.tokens_atoken import patchify, unpatchify

from .helpers import LATENTS, PATCH, as_tokens, assert_close, media, pack, voxel_tokens
from .reference import Reference

TOLERANCE = 1e-5
# Frames of a tile and frames of its past: independent tiles, and windows whose past is shorter, as long and longer.
WINDOWS = [(16, 0), (4, 0), (12, 4), (8, 8), (4, 12), (64, 8)]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def ragged_samples():
    """Images, videos of several lengths and voxels, with neighbors of equal and of different sizes."""
    clips = [(1, 48, 32), (20, 32, 48), (1, 32, 48), (1, 32, 48), (7, 16, 16), (32, 16, 32), (16, 16, 32)]
    videos = [as_tokens(media(count, 3, height, width, seed=i)) for i, (count, height, width) in enumerate(clips)]
    return [*videos[:3], voxel_tokens(30), *videos[3:], voxel_tokens(1, seed=1)]


def window(tile_frames, cache_frames):
    return {"tile_frames": tile_frames, "cache_frames": cache_frames}


def latents_like(count, seed=0):
    return torch.randn(count, LATENTS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tile_frames,cache_frames", WINDOWS)
def test_a_packed_batch_is_each_sample_alone(model, tile_frames, cache_frames):
    samples, options = ragged_samples(), window(tile_frames, cache_frames)
    features, coords, cu_seqlens = pack(samples)
    together = model.encode(features, coords, cu_seqlens, output_hidden_states=True, **options)
    latents = latents_like(len(features))
    decoded = model.decode(latents, coords, cu_seqlens, **options).pixel_values
    for index, (start, end) in enumerate(zip(cu_seqlens[:-1], cu_seqlens[1:], strict=True)):
        alone = torch.tensor([0, end - start])
        one = model.encode(*samples[index], alone, output_hidden_states=True, **options)
        assert_close(together.last_hidden_state[start:end], one.last_hidden_state, TOLERANCE)
        assert_close(together.latents[start:end], one.latents, TOLERANCE)
        assert_close(together.latent_dist.logvar[start:end], one.latent_dist.logvar, TOLERANCE)
        assert_close(together.pooler_output[index], one.pooler_output[0], TOLERANCE)
        for mine, other in zip(together.hidden_states, one.hidden_states, strict=True):
            assert_close(mine[start:end], other, TOLERANCE)
        patches = model.decode(latents[start:end], samples[index][1], alone, **options).pixel_values
        assert_close(decoded[start:end], patches, TOLERANCE)


def test_a_discrete_batch_is_each_sample_alone(discrete_model):
    samples = ragged_samples()
    features, coords, cu_seqlens = pack(samples)
    codes = discrete_model.encode(features, coords, cu_seqlens).codes
    decoded = discrete_model.decode(codes=codes, coords=coords, cu_seqlens=cu_seqlens).pixel_values
    for index, (start, end) in enumerate(zip(cu_seqlens[:-1], cu_seqlens[1:], strict=True)):
        alone = torch.tensor([0, end - start])
        one = discrete_model.encode(*samples[index], alone)
        assert torch.equal(codes[start:end], one.codes)
        patches = discrete_model.decode(codes=one.codes, coords=samples[index][1], cu_seqlens=alone).pixel_values
        assert_close(decoded[start:end], patches, TOLERANCE)


def test_independent_tiles_are_one_tile_after_another(model):
    """What the batch of tiles must equal: every tile of every sample in a call of its own, t from 0."""
    samples = ragged_samples()
    features, coords, cu_seqlens = pack(samples)
    together = model.encode(features, coords, cu_seqlens, tile_frames=8)
    latents = latents_like(len(features))
    decoded = model.decode(latents, coords, cu_seqlens, tile_frames=8).pixel_values
    for start, (sample_features, sample_coords) in zip(cu_seqlens.tolist(), samples, strict=False):
        t = sample_coords[:, 0] - sample_coords[:, 0].min()
        for tile in range(0, int(t.max()) + 1, 2):
            inside = ((t >= tile) & (t < tile + 2)).nonzero().squeeze(1)
            tile_coords = torch.cat([t[inside, None] - tile, sample_coords[inside, 1:]], dim=1)
            alone = torch.tensor([0, len(inside)])
            one = model.encode(sample_features[inside], tile_coords, alone)
            assert_close(together.last_hidden_state[start + inside], one.last_hidden_state, TOLERANCE)
            patches = model.decode(latents[start + inside], tile_coords, alone).pixel_values
            assert_close(decoded[start + inside], patches, TOLERANCE)


@pytest.mark.parametrize("batch_tokens", [1, 7, 25, 100])
@pytest.mark.parametrize("dense", [False, True])
def test_tiles_that_run_a_few_at_a_time(model, batch_tokens, dense):
    if dense:
        given, latents = (media(2, 20, 3, 32, 48),), (latents_like(2 * 5 * 6).view(2, 5, 2, 3, -1),)
    else:
        given = pack(ragged_samples())
        latents = (latents_like(len(given[0])), *given[1:])
    whole = model.encode(*given, tile_frames=8, output_hidden_states=True)
    parts = model.encode(*given, tile_frames=8, batch_tokens=batch_tokens, output_hidden_states=True)
    assert_close(parts.latents, whole.latents, TOLERANCE)
    assert_close(parts.pooler_output, whole.pooler_output, TOLERANCE)
    for part, all_at_once in zip(parts.hidden_states, whole.hidden_states, strict=True):
        assert_close(part, all_at_once, TOLERANCE)
    decoded = model.decode(*latents, tile_frames=8).pixel_values
    assert_close(model.decode(*latents, tile_frames=8, batch_tokens=batch_tokens).pixel_values, decoded, TOLERANCE)


@pytest.mark.parametrize("tile_frames,cache_frames", WINDOWS)
@pytest.mark.parametrize("frames", [1, 4, 16, 20, 35])
def test_dense_is_packed(model, frames, tile_frames, cache_frames):
    video, options = media(2, frames, 3, 32, 48), window(tile_frames, cache_frames)
    features, coords, cu_seqlens = pack([as_tokens(one) for one in video])
    dense, packed = model.encode(video, **options), model.encode(features, coords, cu_seqlens, **options)
    for name in ("latents", "last_hidden_state", "pooler_output"):
        assert_close(dense[name], packed[name], TOLERANCE)
    assert torch.equal(dense.coords, coords)
    assert torch.equal(dense.cu_seqlens, cu_seqlens)
    grid = dense.latents.view(2, -1, 2, 3, LATENTS)
    decoded = model.decode(grid, **options).pixel_values
    patches = torch.cat([as_tokens(one)[0] for one in decoded])
    assert_close(patches, model.decode(dense.latents, coords, cu_seqlens, **options).pixel_values, TOLERANCE)
    tower = model.vision_model(video, **options)
    assert tower.last_hidden_state.shape == (2, len(coords) // 2, 48)
    assert_close(tower.last_hidden_state.flatten(0, 1), packed.last_hidden_state, TOLERANCE)


def test_an_image_is_one_frame_of_video(model):
    image = media(2, 3, 32, 48)
    for video in (image[:, None], torch.cat([image[:, None], torch.zeros(2, 3, 3, 32, 48)], dim=1)):
        assert_close(model.encode(video).latents, model.encode(image).latents, TOLERANCE)


@pytest.mark.parametrize("tile_frames,cache_frames", WINDOWS)
def test_the_order_of_tokens_in_a_sample_does_not_matter(model, tile_frames, cache_frames):
    samples, options = ragged_samples(), window(tile_frames, cache_frames)
    features, coords, cu_seqlens = pack(samples)
    generator = torch.Generator().manual_seed(3)
    starts = cu_seqlens[:-1].tolist()
    shuffle = torch.cat(
        [start + torch.randperm(len(one), generator=generator) for start, (one, _) in zip(starts, samples, strict=True)]
    )
    plain = model.encode(features, coords, cu_seqlens, **options)
    mixed = model.encode(features[shuffle], coords[shuffle], cu_seqlens, **options)
    assert_close(mixed.last_hidden_state, plain.last_hidden_state[shuffle], TOLERANCE)
    assert_close(mixed.pooler_output, plain.pooler_output, TOLERANCE)
    decoded = model.decode(plain.latents, coords, cu_seqlens, **options).pixel_values
    again = model.decode(plain.latents[shuffle], coords[shuffle], cu_seqlens, **options).pixel_values
    assert_close(again, decoded[shuffle], TOLERANCE)


def test_where_a_sample_starts_in_time_does_not_matter(model):
    features, coords, cu_seqlens = pack(ragged_samples())
    shift = torch.arange(len(cu_seqlens) - 1).repeat_interleave(cu_seqlens.diff())
    later = torch.cat([coords[:, :1] + 5 * shift[:, None], coords[:, 1:]], dim=1)
    plain = model.encode(features, coords, cu_seqlens)
    assert_close(model.encode(features, later, cu_seqlens).latents, plain.latents, TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_integer_types_of_coordinates(model, dtype):
    features, coords, cu_seqlens = pack(ragged_samples())
    plain = model.encode(features, coords, cu_seqlens).latents
    assert_close(model.encode(features, coords.to(dtype), cu_seqlens.long()).latents, plain, 0)


# The window rule against the reference, which keeps all keys and looks them up by frame.


def sparse_samples():
    """Videos of 9, 2 and 5 latent frames, voxels, and sparse tokens that leave out frames 2 to 11 of 16."""
    grids = [(9, 2, 2), (2, 1, 3), (5, 3, 1)]
    samples = [as_tokens(media(4 * t, 3, 16 * h, 16 * w, seed=i)) for i, (t, h, w) in enumerate(grids)]
    features, coords = voxel_tokens(24, seed=2)
    coords[:, 0] = torch.tensor([0, 1, 12, 13, 14, 15]).repeat(4)
    return [*samples, voxel_tokens(10, seed=3), (features, coords)]


@pytest.mark.parametrize("which", ["all", "videos", "gap"])
@pytest.mark.parametrize("stride,cache", [(4, 0), (3, 1), (2, 2), (1, 3), (3, 7), (4, 12), (2, 30)])
def test_the_window_rule(model, stride, cache, which):
    samples = {"all": sparse_samples(), "videos": sparse_samples()[:3], "gap": sparse_samples()[4:]}[which]
    features, coords, cu_seqlens = pack(samples)
    options = window(4 * stride, 4 * cache)
    encoded = model.encode(features, coords, cu_seqlens, **options)
    latents = latents_like(len(features))
    decoded = model.decode(latents, coords, cu_seqlens, **options).pixel_values
    weights = {name: value.numpy() for name, value in to_original_state_dict(model).items()}
    reference = Reference(weights, heads=2)
    start = 0
    for sample_features, sample_coords in samples:
        part = slice(start, start + len(sample_features))
        start = part.stop
        dense, _, _ = reference.encode(sample_features, sample_coords, stride, cache)
        patches = reference.decode(latents[part], sample_coords, stride, cache)
        for ours, theirs in ((encoded.last_hidden_state, dense), (decoded, patches)):
            difference = np.abs(ours[part].numpy() - theirs).max()
            assert difference < TOLERANCE * max(1, np.abs(theirs).max())


# Streams.


def pieces_of(tensor, size):
    return iter(tensor.split(size))


@pytest.mark.parametrize("size", [1, 3, 7, 16, 50])
@pytest.mark.parametrize("tile_frames,cache_frames", WINDOWS)
def test_a_stream_of_frames_is_the_whole_video(model, tile_frames, cache_frames, size):
    video, options = media(50, 3, 16, 32), window(tile_frames, cache_frames)
    whole = model.encode(video[None], pool=False, **options).latents.view(13, 1, 2, LATENTS)
    streamed = list(model.encode_stream(pieces_of(video, size), **options))
    assert [len(one) for one in streamed[:-1]] == [tile_frames // 4] * (len(streamed) - 1)
    assert_close(torch.cat(streamed), whole, TOLERANCE)


@pytest.mark.parametrize("size", [1, 3, 7, 13])
@pytest.mark.parametrize("tile_frames,cache_frames", WINDOWS)
def test_a_stream_of_latents_is_the_whole_video(model, tile_frames, cache_frames, size):
    latents, options = latents_like(13 * 2).view(13, 1, 2, LATENTS), window(tile_frames, cache_frames)
    whole = model.decode(latents[None], **options).pixel_values[0]
    streamed = list(model.decode_stream(pieces_of(latents, size), **options))
    assert_close(torch.cat(streamed), whole, TOLERANCE)
    # 50 frames were encoded; the two that filled the last patch are dropped.
    cut = list(model.decode_stream(pieces_of(latents, size), num_frames=50, **options))
    assert_close(torch.cat(cut), whole[:50], TOLERANCE)


@pytest.mark.parametrize("size", [1, 5, 13])
@pytest.mark.parametrize("tile_frames,cache_frames", WINDOWS)
def test_streams_of_patches_are_streams_of_frames(model, tile_frames, cache_frames, size):
    video, options = media(50, 3, 16, 32), window(tile_frames, cache_frames)
    patches = patchify(video[None], PATCH)[0]  # (13, 1, 2, patch_dim)
    latents = torch.cat(list(model.encode_stream([video], **options)))
    streamed = list(model.encode_stream(pieces_of(patches, size), as_patches=True, **options))
    assert_close(torch.cat(streamed), latents, TOLERANCE)
    frames = torch.cat(list(model.decode_stream([latents], **options)))
    decoded = torch.cat(list(model.decode_stream(pieces_of(latents, size), as_patches=True, **options)))
    assert_close(unpatchify(decoded[None], PATCH)[0], frames, TOLERANCE)


def test_patches_of_another_size_are_refused(model):
    with pytest.raises(ValueError, match="pixel_values must have 3072 .* got 3000"):
        list(model.encode_stream([torch.zeros(1, 2, 2, 3000)], as_patches=True))


def test_a_stream_of_single_frames_without_the_axis_of_time(model):
    video = media(9, 3, 16, 32)
    whole = model.encode(video[None]).latents.view(3, 1, 2, LATENTS)
    assert_close(torch.cat(list(model.encode_stream(iter(video)))), whole, TOLERANCE)


def test_discrete_streams(discrete_model):
    video = media(20, 3, 16, 32)
    encoded = discrete_model.encode(video[None])
    streamed = torch.cat(list(discrete_model.encode_stream(pieces_of(video, 6))))
    assert_close(streamed.flatten(0, 2), encoded.latents, TOLERANCE)
    codes = encoded.codes.view(1, 5, 1, 2, -1)
    frames = torch.cat(list(discrete_model.decode_stream(pieces_of(streamed, 2))))
    assert_close(frames, discrete_model.decode(codes=codes).pixel_values[0], TOLERANCE)


def test_streams_are_lazy(model):
    """A tile is given as soon as its frames are there, and no frame is asked for before it is needed."""
    taken = []

    def frames():
        for index in range(40):
            taken.append(index)
            yield media(3, 16, 16, seed=index)

    stream = model.encode_stream(frames())
    assert not taken
    for count in (16, 32):
        next(stream)
        assert len(taken) == count
    assert len(list(stream)) == 1


def test_a_cache_carries_over_between_calls(model):
    """Windows given one call each with the caller's cache equal one call with all of them."""
    video, latents = media(2, 36, 3, 16, 32), latents_like(2 * 9 * 2).view(2, 9, 1, 2, LATENTS)
    options = window(12, 8)
    whole = model.encode(video, pool=False, **options).latents.view(2, 9, 2, -1)
    decoded = model.decode(latents, **options).pixel_values
    cache, decoder_cache = model.vision_model.new_cache(8), model.decoder.new_cache(8)
    for start in range(0, 36, 12):
        part = model.encode(video[:, start : start + 12], tile_frames=12, cache=cache, pool=False).latents
        assert_close(part.view(2, 3, 2, -1), whole[:, start // 4 : start // 4 + 3], TOLERANCE)
        piece = latents[:, start // 4 : start // 4 + 3]
        frames = model.decode(piece, tile_frames=12, cache=decoder_cache).pixel_values
        assert_close(frames, decoded[:, start : start + 12], TOLERANCE)


def held_bytes(cache):
    """What a cache keeps alive: whole storages, because a view of a video's tensor would hold all of it."""
    tensors = [tensor for pair in cache.layers for tensor in pair] + [cache.coords, cache.sample]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.parametrize("tile_frames,cache_frames", [(16, 4), (8, 8), (4, 12)])
def test_the_cache_does_not_grow(model, tile_frames, cache_frames):
    for tower, clip in (
        (model.vision_model, media(1, tile_frames, 3, 32, 32)),
        (model.decoder, latents_like(tile_frames).view(1, tile_frames // 4, 2, 2, LATENTS)),
    ):
        cache, sizes = tower.new_cache(cache_frames), []
        for _ in range(30):
            tower(clip, tile_frames=tile_frames, cache=cache)
            sizes.append(held_bytes(cache))
        assert sizes[3] == sizes[-1]
        keys = cache_frames // 4 * 4
        assert all(key.shape == value.shape == (keys, 2, 24) for key, value in cache.layers)
        assert len(cache.layers) == 2


def test_a_stream_keeps_no_frames(model):
    """Neither the pieces nor their tiles are alive once their latents are out."""
    alive = weakref.WeakSet()

    def frames():
        for index in range(64):
            piece = media(3, 3, 16, 16, seed=index)
            alive.add(piece)
            yield piece
            del piece

    counts = [len(alive) for _ in model.encode_stream(frames(), cache_frames=4)]
    # A tile of 16 frames and the piece it may share with the next one.
    assert max(counts) <= 7
