"""Bad input to configurations and models: a ValueError that names the culprit, before any block has run."""

import re

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from atoken import AtokenConfig, AtokenDecoderConfig, AtokenQuantizerConfig, AtokenVisionConfig
from atoken.layers_atoken import AtokenBlock, TemporalCache
from atoken.outputs_atoken import LatentDistribution

from .helpers import LATENTS, TEXT, as_tokens, make_model, media, pack, tiny_config, voxel_tokens

# Configurations wrap a validator's ValueError in their own class, message included.
REFUSALS = (ValueError, StrictDataclassError)


def batch(**changes):
    """Two images as packed tokens, with some arguments exchanged."""
    features, coords, cu_seqlens = pack([as_tokens(media(1, 3, 32, 48)), as_tokens(media(1, 3, 16, 32))])
    return {"pixel_values": features, "coords": coords, "cu_seqlens": cu_seqlens, **changes}


def latents(**changes):
    """The same batch for the decoder."""
    given = {**batch(), "latents": media(8, LATENTS), **changes}
    del given["pixel_values"]
    return given


def at(tensor, index, value):
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


COORDS = batch()["coords"]
CUMULATIVE = {
    "does not start at 0": [1, 6, 8],
    "ends before the last token": [0, 6, 7],
    "ends after the last token": [0, 6, 9],
    "decreases": [0, 9, 8],
    "has an empty sample": [0, 6, 6, 8],
    "has one entry": [8],
    "is empty": [],
}
BAD_CUMULATIVE = {f"cu_seqlens {kind}": torch.tensor(value, dtype=torch.int32) for kind, value in CUMULATIVE.items()}
BAD_CUMULATIVE |= {
    "cu_seqlens are floats": torch.tensor([0.0, 6, 8]),
    "cu_seqlens are 2-D": torch.tensor([[0, 6, 8]]),
    "cu_seqlens are a number": torch.tensor(8),
    "cu_seqlens are a list": [0, 6, 8],
}
BAD_COORDS = {
    "coords are floats": COORDS.float(),
    "coords are bools": COORDS.bool(),
    "coords lack a column": COORDS[:, :3],
    "coords have the sample in front": torch.nn.functional.pad(COORDS, (1, 0)),
    "coords lack a row": COORDS[:-1],
    "coords are 1-D": COORDS.flatten(),
    "coords are numpy": COORDS.numpy(),
    "coords have a negative row": at(COORDS, (3, 1), -1),
    "coords have a negative time": at(COORDS, (3, 0), -1),
    "coords have a negative depth": at(COORDS, (3, 3), -1),
    "coords are huge": at(COORDS, (3, 1), 2**62),
    "coords are huge in time": at(COORDS, (3, 0), 2**62),
    "coords are in pixels": COORDS * 512,
}

# kind -> (call of a model, what the message must say)
ENCODE = {
    "a list": (lambda m: m.encode([[0.0]]), "pixel_values must be .* got list"),
    "numpy": (lambda m: m.encode(np.zeros((1, 3, 32, 32))), "pixel_values must be .* got ndarray"),
    "uint8": (
        lambda m: m.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)),
        "pixel_values must be .* got torch.uint8",
    ),
    "complex": (lambda m: m.encode(media(1, 3, 32, 32) + 0j), "pixel_values must be .* got torch.complex64"),
    "1-D": (lambda m: m.encode(media(3072)), r"pixel_values must be \(N, 3072\).* got \(3072,\)"),
    "3-D": (lambda m: m.encode(media(3, 32, 32)), r"pixel_values must be .* got \(3, 32, 32\)"),
    "6-D": (lambda m: m.encode(media(1, 1, 1, 3, 32, 32)), r"pixel_values must be .* got \(1, 1, 1, 3, 32, 32\)"),
    "channels last": (lambda m: m.encode(media(1, 32, 32, 3)), r"pixel_values must be .* got \(1, 32, 32, 3\)"),
    "gray": (lambda m: m.encode(media(1, 1, 32, 32)), r"pixel_values must be .* got \(1, 1, 32, 32\)"),
    "time after channels": (
        lambda m: m.encode(media(1, 3, 8, 32, 32)),
        r"pixel_values must be .* got \(1, 3, 8, 32, 32\)",
    ),
    "no image": (lambda m: m.encode(media(0, 3, 32, 32)), "pixel_values must be .* not empty, got"),
    "no frame": (lambda m: m.encode(media(1, 0, 3, 32, 32)), "pixel_values must be .* not empty, got"),
    "no row": (lambda m: m.encode(media(1, 3, 0, 32)), "pixel_values must be .* not empty, got"),
    "height": (lambda m: m.encode(media(1, 3, 40, 32)), "pixel_values must have a height .* got 40 x 32"),
    "width": (lambda m: m.encode(media(1, 4, 3, 32, 31)), "pixel_values must have a height .* got 32 x 31"),
    "too small": (lambda m: m.encode(media(1, 3, 8, 8)), "pixel_values must have a height .* got 8 x 8"),
    "features": (lambda m: m.encode(**batch(pixel_values=media(8, 768))), "pixel_values must have 3072 .* got 768"),
    "no tokens": (lambda m: m.encode(**batch(pixel_values=media(0, 3072))), "coords must have one row per token"),
    "nothing at all": (
        lambda m: m.encode(media(0, 3072), COORDS[:0], torch.tensor([0, 0])),
        "cu_seqlens must increase from 0 to the number of tokens, 0, without an empty sample",
    ),
    "packed integers": (
        lambda m: m.encode(**batch(pixel_values=torch.ones(8, 3072, dtype=torch.long))),
        "pixel_values must be .* got torch.int64",
    ),
    "no coords": (lambda m: m.encode(**batch(coords=None)), "coords and cu_seqlens must be given"),
    "no cu_seqlens": (lambda m: m.encode(**batch(cu_seqlens=None)), "coords and cu_seqlens must be given"),
    "coords of dense input": (
        lambda m: m.encode(**batch(pixel_values=media(1, 3, 32, 48))),
        "coords, cu_seqlens and layout go with packed pixel_values",
    ),
    "tile_frames": (lambda m: m.encode(**batch(), tile_frames=6), "tile_frames must be a multiple .* got 6"),
    "no tile": (lambda m: m.encode(**batch(), tile_frames=0), "tile_frames must be a multiple .* got 0"),
    "negative tile": (lambda m: m.encode(**batch(), tile_frames=-4), "tile_frames must be a multiple .* got -4"),
    "half a tile": (lambda m: m.encode(**batch(), tile_frames=4.0), "tile_frames must be a multiple .* got 4.0"),
    "cache_frames": (lambda m: m.encode(**batch(), cache_frames=2), "cache_frames must be a multiple .* got 2"),
    "negative cache": (lambda m: m.encode(**batch(), cache_frames=-4), "cache_frames must be a multiple .* got -4"),
    "cache": (lambda m: m.encode(**batch(), cache=4), "cache must be a TemporalCache .* got int"),
    "batch_tokens": (lambda m: m.encode(**batch(), batch_tokens=0), "batch_tokens must be positive, got 0"),
    "new_cache": (lambda m: m.vision_model.new_cache(3), "cache_frames must be a multiple .* got 3"),
}
DECODE = {
    "neither": (lambda m: m.decode(), "exactly one of latents and codes"),
    "both": (
        lambda m: m.decode(media(1, 1, 1, 1, LATENTS), codes=torch.zeros(1, 2)),
        "exactly one of latents and codes",
    ),
    "channels": (lambda m: m.decode(**latents(latents=media(8, 7))), f"latents must have {LATENTS} .* got 7"),
    "channels of a grid": (lambda m: m.decode(media(1, 1, 2, 3, 7)), f"latents must have {LATENTS} .* got 7"),
    "numpy": (lambda m: m.decode(np.zeros((1, 1, 2, 3, LATENTS))), "latents must be .* got ndarray"),
    "integers": (lambda m: m.decode(**latents(latents=torch.ones(8, LATENTS).long())), "latents must be .* give codes"),
    "no coords": (lambda m: m.decode(**latents(coords=None)), "latents must be .* with coords and cu_seqlens"),
    "coords of a grid": (
        lambda m: m.decode(**latents(latents=media(1, 1, 2, 3, LATENTS))),
        "latents must be .* without them",
    ),
    "empty grid": (lambda m: m.decode(media(1, 0, 2, 3, LATENTS)), r"latents must be .*non-empty.*\(1, 0, 2, 3, 12\)"),
    "3-D": (lambda m: m.decode(media(2, 3, LATENTS)), r"latents must be .* got \(2, 3, 12\)"),
    "too few": (lambda m: m.decode(**latents(latents=media(7, LATENTS))), "coords must have one row per token"),
    "codes": (lambda m: m.decode(codes=torch.zeros(1, 1, 1, 1, 2).long()), "codes need a discrete model"),
    "tile_frames": (lambda m: m.decode(**latents(), tile_frames=7), "tile_frames must be a multiple .* got 7"),
    "cache_frames": (lambda m: m.decode(**latents(), cache_frames=1), "cache_frames must be a multiple .* got 1"),
}
CODES = torch.zeros(8, 2, dtype=torch.long)
DISCRETE = {
    "too large": (at(CODES, (7, 1), 4096), r"codes must be in \[0, 4096\), got values from 0 to 4096"),
    "negative": (at(CODES, (7, 1), -1), r"codes must be in \[0, 4096\), got values from -1"),
    "floats": (CODES.float(), "codes must be integers, got torch.float32"),
    "groups": (CODES[:, :1], r"codes must have shape \(\.\.\., 2\), got \(8, 1\)"),
    "1-D": (CODES.flatten(), r"codes must be .*\(16,\)"),
    "3-D": (CODES[None], r"codes must be .*\(1, 8, 2\)"),
    "numpy": (CODES.numpy(), "codes must be .* ndarray"),
    "too few": (CODES[:-1], "coords must have one row per token"),
}


def first(stream):
    return next(iter(stream))


FRAMES, GRID = media(8, 3, 16, 32), media(2, 1, 2, LATENTS)
STREAMS = {
    "frames of another size": (
        lambda m: list(m.encode_stream([FRAMES, FRAMES[..., :16]])),
        r"frames must be .* got \(8, 3, 16, 16\) after \(3, 16, 32\)",
    ),
    "no frames in a piece": (lambda m: list(m.encode_stream([FRAMES, FRAMES[:0]])), "frames must be non-empty"),
    "5-D frames": (lambda m: list(m.encode_stream([FRAMES[None]])), "frames must be .* 4 dimensions"),
    "a batch of videos": (lambda m: list(m.encode_stream(FRAMES[None])), "frames given as one tensor must have 4"),
    "frames of integers": (lambda m: list(m.encode_stream([FRAMES.byte()])), "frames must be a floating point"),
    "numpy frames": (lambda m: list(m.encode_stream([FRAMES.numpy()])), "frames must be .* got ndarray"),
    "gray frames": (
        lambda m: list(m.encode_stream([FRAMES[:, :1]])),
        r"pixel_values must be .* got \(1, 8, 1, 16, 32\)",
    ),
    "odd frames": (lambda m: list(m.encode_stream([FRAMES[..., :20]])), "pixel_values must have a height"),
    # Without a check these two would wait for ever.
    "no tile": (lambda m: first(m.encode_stream([FRAMES], tile_frames=0)), "tile_frames must be a multiple .* got 0"),
    "short tile": (lambda m: first(m.decode_stream([GRID], tile_frames=2)), "tile_frames must be a multiple .* got 2"),
    "tile": (lambda m: first(m.encode_stream([FRAMES], tile_frames=6)), "tile_frames must be a multiple .* got 6"),
    "cache": (lambda m: first(m.encode_stream([FRAMES], cache_frames=6)), "cache_frames must be a multiple .* got 6"),
    "latents of another size": (
        lambda m: list(m.decode_stream([GRID, GRID[:, :, :1]])),
        r"latents must be .* got \(2, 1, 1, 12\) after \(1, 2, 12\)",
    ),
    "latent channels": (lambda m: list(m.decode_stream([GRID[..., :5]])), f"latents must have {LATENTS} .* got 5"),
    "codes": (lambda m: list(m.decode_stream([torch.zeros(2, 1, 2, 2).long()])), "latents must be a floating point"),
    "num_frames": (lambda m: first(m.decode_stream([GRID], num_frames=-1)), "num_frames must be a positive .* got -1"),
    "half a frame": (lambda m: first(m.decode_stream([GRID], num_frames=5.5)), "num_frames must be a positive .* 5.5"),
    "too few frames": (lambda m: list(m.decode_stream([GRID, GRID], num_frames=12)), "num_frames must be above 12, as"),
    "too many frames": (lambda m: list(m.decode_stream([GRID, GRID], num_frames=17)), "num_frames must be at most 16"),
}
IMAGES, IDS = media(2, 3, 16, 32), torch.tensor([[2, 5, 1]])
FORWARD = {
    "floats": (lambda m: m(IMAGES, input_ids=IDS.float()), "input_ids must be integers .* torch.float32"),
    "1-D": (lambda m: m(IMAGES, input_ids=IDS[0]), r"input_ids must be integers .* \(3,\)"),
    "strings": (lambda m: m(IMAGES, input_ids=["a cat"]), "input_ids must be integers .* got list"),
    "one text for two": (lambda m: m(IMAGES, input_ids=IDS, return_loss=True), "one text per sample, got 1 for 2"),
    "media_sizes": (
        lambda m: m(IMAGES, media_sizes=torch.tensor([[1, 16, 32]]), return_loss=True),
        r"media_sizes must be .* \(2, 3\).* got torch.int64 \(1, 3\)",
    ),
    "float media_sizes": (lambda m: m(IMAGES, media_sizes=torch.ones(2, 3), return_loss=True), "media_sizes must be"),
    "zero media_sizes": (
        lambda m: m(IMAGES, media_sizes=torch.zeros(2, 3, dtype=torch.long), return_loss=True),
        "media_sizes must be positive",
    ),
    "media_sizes without rows": (
        lambda m: m(*pack([voxel_tokens(4)]), media_sizes=torch.tensor([[0, 0, 8]]), return_loss=True),
        "media_sizes must be positive .* voxels need pixel_mask",
    ),
    "pixel_mask": (
        lambda m: m(IMAGES, pixel_mask=torch.ones(4, 1023, dtype=torch.bool), return_loss=True),
        r"pixel_mask must be bool \(4, 1024\).* got torch.bool \(4, 1023\)",
    ),
    "pixel_mask of numbers": (
        lambda m: m(IMAGES, pixel_mask=torch.ones(4, 1024), return_loss=True),
        "pixel_mask must be bool .* got torch.float32",
    ),
    "no pixels": (lambda m: m(None, input_ids=IDS), "pixel_values must be .* got NoneType"),
}
# kind -> (making of a configuration, what the message must say)
CONFIGS = {
    "heads": (lambda: AtokenVisionConfig(num_attention_heads=7), "hidden_size .* num_attention_heads, got 1152 and 7"),
    "no heads": (lambda: AtokenVisionConfig(num_attention_heads=0), "num_attention_heads must be positive, got 0"),
    "negative heads": (lambda: AtokenVisionConfig(num_attention_heads=-2), "num_attention_heads must be positive"),
    "head size": (lambda: AtokenDecoderConfig(hidden_size=48, num_attention_heads=4), "multiple of 8.* got 12"),
    "no width": (lambda: AtokenDecoderConfig(hidden_size=0), "hidden_size must be positive, got 0"),
    "no blocks": (lambda: AtokenVisionConfig(num_hidden_layers=-1), "num_hidden_layers must be positive, got -1"),
    "no channels": (lambda: AtokenVisionConfig(num_channels=0), "num_channels must be positive, got 0"),
    "no table": (lambda: AtokenVisionConfig(position_embedding_size=0), "position_embedding_size must be positive"),
    "theta": (lambda: AtokenVisionConfig(rope_theta=0), "rope_theta must be positive, got 0"),
    "activation": (lambda: AtokenVisionConfig(hidden_act="nope"), "hidden_act must be .* got 'nope'"),
    "a word": (lambda: AtokenVisionConfig(hidden_size="wide"), "hidden_size.*expected int, got str"),
    "patch": (lambda: AtokenVisionConfig(patch_size=[16, 16]), r"patch_size must be three .* got \[16, 16\]"),
    "zero patch": (lambda: AtokenVisionConfig(patch_size=[0, 16, 16]), "patch_size must be three positive"),
    "patch as a number": (lambda: AtokenVisionConfig(patch_size=16), "patch_size"),
    "tile": (lambda: AtokenVisionConfig(tile_frames=10), "tile_frames must be a positive multiple .* got 10"),
    "no tile": (lambda: AtokenDecoderConfig(tile_frames=0), "tile_frames must be a positive multiple .* got 0"),
    "cache": (lambda: AtokenDecoderConfig(cache_frames=3), "cache_frames must be 0 or a multiple .* got 3"),
    "negative cache": (lambda: AtokenDecoderConfig(cache_frames=-4), "cache_frames must be 0 or a multiple .* got -4"),
    "one level": (lambda: AtokenQuantizerConfig(levels=1), "levels must be at least 2.* levels=1"),
    "many levels": (lambda: AtokenQuantizerConfig(levels=1001), "levels must be at most 1000, got 1001"),
    "no codebook": (lambda: AtokenQuantizerConfig(num_codebooks=0), "num_codebooks=0"),
    "huge codebook": (lambda: AtokenQuantizerConfig(codebook_dim=32), "64-bit integer, got levels=4, codebook_dim=32"),
    "latents of codes": (
        lambda: tiny_config(discrete=True, latent_channels=13),
        "latent_channels must be num_codebooks x codebook_dim = 2 x 6, got 13",
    ),
    "no latents": (lambda: tiny_config(latent_channels=0), "latent_channels must be positive, got 0"),
    "patches": (
        lambda: tiny_config(decoder={"patch_size": [4, 8, 8]}),
        r"vision_config\.patch_size and decoder_config\.patch_size must be equal",
    ),
    "colors": (lambda: tiny_config(decoder={"num_channels": 1}), "num_channels must be equal, got 3 and 1"),
    "text width": (
        lambda: tiny_config(text_config={**TEXT, "projection_size": 32}),
        "text_config.projection_size must equal .* got 32 and 48",
    ),
    "means": (lambda: tiny_config(latents_mean=[0.0]), "latents_mean must have latent_channels=12 values, got 1"),
    "deviations": (lambda: tiny_config(latents_std=[0.0] * 12), "latents_std must be positive, got 0.0"),
    "a part": (lambda: AtokenConfig(vision_config=7), "vision_config"),
    "preset": (lambda: AtokenConfig.from_preset("huge"), "name must be one of the presets .*base.*so400m.*got 'huge'"),
    "preset path": (lambda: AtokenConfig.from_preset("../x"), "name must be one of the presets"),
}
OTHER = {
    "moments": (lambda: LatentDistribution(media(2, 5)), "moments must hold .* got 5 channels"),
    "cache": (lambda: TemporalCache(-1), "frames must not be negative, got -1"),
}


def refuse(message, call, *arguments):
    with pytest.raises(REFUSALS, match=f"(?s){message}"):
        call(*arguments)


@pytest.fixture
def no_blocks(monkeypatch):
    """Fails the test if a block runs: bad input must be found before any work."""

    def forward(*arguments, **options):
        pytest.fail("a block ran on bad input")

    monkeypatch.setattr(AtokenBlock, "forward", forward)


@pytest.mark.parametrize("kind", ENCODE)
def test_encode(model, no_blocks, kind):
    call, message = ENCODE[kind]
    refuse(message, call, model)


@pytest.mark.parametrize("kind", DECODE)
def test_decode(model, no_blocks, kind):
    call, message = DECODE[kind]
    refuse(message, call, model)


@pytest.mark.parametrize("cache_frames", [0, 4])
@pytest.mark.parametrize("kind", [*BAD_CUMULATIVE, *BAD_COORDS])
def test_packed_batches(model, no_blocks, kind, cache_frames):
    name, value = ("coords", BAD_COORDS[kind]) if kind in BAD_COORDS else ("cu_seqlens", BAD_CUMULATIVE[kind])
    refuse(f"{name} ", lambda: model.encode(**batch(**{name: value}), cache_frames=cache_frames))
    refuse(f"{name} ", lambda: model.decode(**latents(**{name: value}), cache_frames=cache_frames))


@pytest.mark.parametrize("kind", DISCRETE)
def test_codes(discrete_model, no_blocks, kind):
    codes, message = DISCRETE[kind]
    refuse(message, lambda: discrete_model.decode(**latents(latents=None, codes=codes)))


@pytest.mark.parametrize("kind", STREAMS)
def test_streams(model, kind):
    call, message = STREAMS[kind]
    refuse(message, call, model)


@pytest.mark.parametrize("kind", FORWARD)
def test_forward(text_image_model, kind):
    call, message = FORWARD[kind]
    with torch.no_grad():
        refuse(message, call, text_image_model)


def test_text_without_its_tower(model, no_blocks):
    refuse("no text tower", lambda: model(IMAGES, input_ids=IDS))
    refuse("no text tower", lambda: model.get_text_features(IDS))
    headless = make_model(text=True, vision={"vision_use_head": False})
    refuse("vision_use_head", lambda: headless(IMAGES, input_ids=IDS))


@pytest.mark.parametrize("kind", CONFIGS)
def test_configurations(kind):
    call, message = CONFIGS[kind]
    refuse(message, call)


@pytest.mark.parametrize("kind", OTHER)
def test_parts(kind):
    call, message = OTHER[kind]
    refuse(message, call)


def test_a_failed_window_leaves_the_cache_as_it_was(model):
    """Bad coordinates of a later window must not leave a half-used cache behind."""
    cache = model.vision_model.new_cache(4)
    features, coords = as_tokens(media(8, 3, 16, 32))
    bad = at(coords, (3, 1), -1)
    refuse("coords", lambda: model.encode(features, bad, torch.tensor([0, 4]), tile_frames=4, cache=cache))
    assert cache.next_frame == 0


def test_messages_are_one_readable_line(model):
    with pytest.raises(ValueError) as caught:
        model.encode(**batch(cu_seqlens=torch.arange(100, dtype=torch.int32)))
    assert len(str(caught.value)) < 250 and not re.search(r"\n", str(caught.value))
