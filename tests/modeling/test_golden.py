"""Every number that the official inference code gave for small random weights (`tests/golden`)."""

import pytest
import torch
from torch.nn.functional import normalize, pad

from atoken.conversion_atoken import convert_original_checkpoint
from atoken.outputs_atoken import LatentDistribution

from .helpers import as_tokens, assert_close, pack

TOLERANCE = 2e-5
# Name of the golden tensor and the window's settings in frames.
WINDOWS = {
    "video.decoded": {},
    "video.decoded_stride12_cache4": {"tile_frames": 12, "cache_frames": 4},
    "video.decoded_stride8_cache8": {"tile_frames": 8, "cache_frames": 8},
}
CASES = [
    ("continuous", "image"),
    ("continuous", "video"),
    ("continuous", "batch"),
    ("continuous", "voxels"),
    ("discrete", "image"),
    ("discrete", "batch"),
]


@pytest.fixture(params=["eager", "sdpa"])
def converted(request, golden_folder):
    """A function from "continuous" or "discrete" to the converted model with one attention implementation."""

    def convert(kind: str):
        model = convert_original_checkpoint(
            golden_folder / f"{kind}.weights.safetensors",
            encoder_num_heads=2,
            quantizer="fsq" if kind == "discrete" else None,
        )
        model.set_attn_implementation(request.param)
        return model

    return convert


def frames(tensors, name):
    """The golden image or video, channels last, as (T, C, H, W)."""
    value = tensors[f"{name}.input"]
    return (value[None] if value.ndim == 3 else value).permute(0, 3, 1, 2)


def packed_input(tensors, kind, name):
    """The golden sample or batch as packed tokens, with the golden coordinates."""
    coords = tensors[f"{name}.coords"]
    counts = torch.bincount(coords[:, 0])
    cu_seqlens = pad(counts.cumsum(0), (1, 0)).to(torch.int32)
    if name == "voxels":
        features = pad(tensors["voxels.rgb"] * 2 - 1, (0, 3072 - 768))
    elif name == "batch":
        image, video = frames(tensors, "image"), frames(tensors, "video")
        flipped = image.flip(-2)[..., :32, :]
        samples = [image, video[:8], flipped] if kind == "continuous" else [video, image]
        features = torch.cat([as_tokens(sample)[0] for sample in samples])
    else:
        features, _ = as_tokens(frames(tensors, name))
    return features, coords[:, 1:], cu_seqlens


def check_encoded(encoded, tensors, name):
    distribution = encoded.latent_dist
    moments = torch.cat([distribution.mean, distribution.logvar], dim=-1)
    assert_close(encoded.last_hidden_state, tensors[f"{name}.dense"], TOLERANCE)
    assert_close(normalize(encoded.pooler_output, dim=-1), tensors[f"{name}.pooled"], TOLERANCE)
    assert_close(moments, tensors[f"{name}.moments"], TOLERANCE)
    # The discrete model's KL reaches 80, where neighboring fp32 numbers are 7.6e-6 apart and the golden sums
    # themselves are 1.2e-5 off: the relative part allows ten of them there, and little to the continuous model's.
    torch.testing.assert_close(distribution.kl(), tensors[f"{name}.kl"], atol=TOLERANCE, rtol=1e-6)
    if f"{name}.codes" in tensors:
        assert_close(encoded.latents, tensors[f"{name}.codes"], 0)
        assert torch.equal(encoded.codes, tensors[f"{name}.indices"].long())


@pytest.mark.parametrize("kind,name", [case for case in CASES if case[1] != "voxels"])
def test_packing_gives_the_golden_patches_and_coordinates(golden, kind, name):
    tensors = golden(kind)
    names = {"continuous": ["image", "video", "image"], "discrete": ["video", "image"]}[kind]
    cuts = {"continuous": [(1, 48), (8, 32), (1, 32)], "discrete": [(20, 32), (1, 48)]}[kind]
    samples = [frames(tensors, one)[:count, :, :rows] for one, (count, rows) in zip(names, cuts, strict=True)]
    if name != "batch":
        samples = [frames(tensors, name)]
    features, coords, cu_seqlens = pack([as_tokens(sample) for sample in samples])
    expected = tensors[f"{name}.coords"].long()
    assert torch.equal(coords, expected[:, 1:])
    assert torch.equal(torch.repeat_interleave(torch.arange(len(samples)), cu_seqlens.diff()), expected[:, 0])
    if f"{name}.patches" in tensors:
        assert_close(features, tensors[f"{name}.patches"], 0)


@pytest.mark.parametrize("kind,name", CASES)
@torch.no_grad()
def test_packed_tokens(converted, golden, kind, name):
    model, tensors = converted(kind), golden(kind)
    features, coords, cu_seqlens = packed_input(tensors, kind, name)
    encoded = model.encode(features, coords, cu_seqlens)
    check_encoded(encoded, tensors, name)
    for given in [{"latents": encoded.latents}] + ([{"codes": encoded.codes}] if kind == "discrete" else []):
        decoded = model.decode(coords=coords, cu_seqlens=cu_seqlens, **given)
        assert_close(decoded.pixel_values, tensors[f"{name}.decoded"], TOLERANCE)


@pytest.mark.parametrize("kind,name", CASES)
def test_kl_of_the_golden_moments(golden, kind, name):
    tensors = golden(kind)
    assert_close(LatentDistribution(tensors[f"{name}.moments"]).kl(), tensors[f"{name}.kl"], TOLERANCE)


@pytest.mark.parametrize("kind,name", [("continuous", "image"), ("continuous", "video"), ("discrete", "image")])
@torch.no_grad()
def test_dense_media(converted, golden, kind, name):
    model, tensors = converted(kind), golden(kind)
    value = frames(tensors, name)
    # An image may come without the axis of frames.
    for dense in [value[None]] + ([value] if name == "image" else []):
        encoded = model.encode(dense)
        check_encoded(encoded, tensors, name)
        assert torch.equal(encoded.coords, tensors[f"{name}.coords"][:, 1:].long())
        grid = encoded.coords.amax(0)[:3] + 1
        decoded = model.decode(encoded.latents.unflatten(0, (1, *grid.tolist()))).pixel_values
        assert_close(as_tokens(decoded[0])[0], tensors[f"{name}.decoded"], TOLERANCE)


@pytest.mark.parametrize("name", WINDOWS)
@torch.no_grad()
def test_decoding_windows(converted, golden, name):
    model, tensors = converted("continuous"), golden("continuous")
    features, coords, cu_seqlens = packed_input(tensors, "continuous", "video")
    mean = tensors["video.moments"].chunk(2, dim=-1)[0]
    decoded = model.decode(mean, coords, cu_seqlens, **WINDOWS[name]).pixel_values
    assert_close(decoded, tensors[name], TOLERANCE)
    grid = mean.unflatten(0, (1, *(coords.amax(0)[:3] + 1).tolist()))
    video = model.decode(grid, **WINDOWS[name]).pixel_values[0]
    assert_close(as_tokens(video)[0], tensors[name], TOLERANCE)


@pytest.mark.parametrize("name", ["image", "batch"])
@torch.no_grad()
def test_decoding_the_golden_indices(converted, golden, name):
    model, tensors = converted("discrete"), golden("discrete")
    _, coords, cu_seqlens = packed_input(tensors, "discrete", name)
    indices = tensors[f"{name}.indices"]
    assert_close(model.quantizer.from_codes(indices), tensors[f"{name}.codes"], 0)
    decoded = model.decode(codes=indices, coords=coords, cu_seqlens=cu_seqlens)
    assert_close(decoded.pixel_values, tensors[f"{name}.decoded"], TOLERANCE)


@pytest.mark.parametrize("kind,name", CASES)
@torch.no_grad()
def test_bfloat16(converted, golden, kind, name):
    model, tensors = converted(kind).to(torch.bfloat16), golden(kind)
    features, coords, cu_seqlens = packed_input(tensors, kind, name)

    def difference(actual, expected):
        expected = tensors[f"{name}.{expected}"]
        return ((actual.float() - expected).norm() / expected.norm()).item()

    encoded = model.encode(features.to(torch.bfloat16), coords, cu_seqlens)
    distribution = encoded.latent_dist
    # The decoder is compared on the same latents: a value near the border of two levels may round either way.
    latents = tensors[f"{name}.codes"] if kind == "discrete" else tensors[f"{name}.moments"].chunk(2, dim=-1)[0]
    decoded = model.decode(latents.to(torch.bfloat16), coords, cu_seqlens)
    differences = {
        "dense": difference(encoded.last_hidden_state, "dense"),
        "pooled": difference(normalize(encoded.pooler_output.float(), dim=-1), "pooled"),
        "moments": difference(torch.cat([distribution.mean, distribution.logvar], dim=-1), "moments"),
        "kl": difference(distribution.kl(), "kl"),
        "decoded": difference(decoded.pixel_values, "decoded"),
    }
    assert max(differences.values()) < 3e-2, differences
    assert encoded.last_hidden_state.dtype == decoded.pixel_values.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_no_golden_tensor_is_left_out(golden, kind):
    """A tensor added to the golden files must be added to the tests above."""
    compared = {"coords", "dense", "pooled", "moments", "kl", "decoded"}
    inputs = {"input", "rgb", "patches"}
    names = {name for one, name in CASES if one == kind} | {"video"}
    for tensor in golden(kind):
        name, what = tensor.split(".")
        assert name in names
        assert what in compared | inputs | {"codes", "indices"} or tensor in WINDOWS
