"""Layouts that are handed over with a batch: the same results, and nothing read back from the device."""

import pickle

import pytest
import torch

from atoken.packed_layouts_atoken import PackedLayout

from .helpers import WIDTH, as_tokens, make_model, media, pack, voxel_tokens

GAUSSIANS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_gaussians": 2,
}


def mixed():
    """A video of two tiles and a rest, a picture of another shape, and voxels."""
    return pack([as_tokens(media(36, 3, 32, 48)), as_tokens(media(1, 3, 48, 16)), voxel_tokens(20)])


def layout_of(coords, cu_seqlens, tile=4, **options):
    return PackedLayout.build(coords, cu_seqlens.diff().tolist(), tile, **options)


def test_a_handed_layout_changes_nothing():
    model = make_model()
    features, coords, cu_seqlens = mixed()
    layout = pickle.loads(pickle.dumps(layout_of(coords, cu_seqlens))).to("cpu")
    expected = model.encode(features, coords, cu_seqlens)
    found = model.encode(features, coords, cu_seqlens, layout=layout)
    assert torch.equal(found.latents, expected.latents)
    assert torch.equal(found.pooler_output, expected.pooler_output)
    decoded = model.decode(found.latents, coords, cu_seqlens, layout=layout).pixel_values
    assert torch.equal(decoded, model.decode(expected.latents, coords, cu_seqlens).pixel_values)


def test_tiles_are_those_of_the_layout():
    model = make_model()
    features, coords, cu_seqlens = mixed()
    whole = layout_of(coords, cu_seqlens, tile=9)
    found = model.encode(features, coords, cu_seqlens, layout=whole).latents
    assert torch.equal(found, model.encode(features, coords, cu_seqlens, tile_frames=36).latents)
    with pytest.raises(ValueError, match="layout must be of tiles of 4 latent frames, got one of 9"):
        model.encode(features, coords, cu_seqlens, layout=whole, tile_frames=16)


def test_gaussians_are_the_same():
    model = make_model(gaussian_config=GAUSSIANS)
    features, coords, cu_seqlens = pack([voxel_tokens(30), voxel_tokens(25, seed=1)])
    latents = model.encode(features, coords, cu_seqlens).latents
    layout = layout_of(coords, cu_seqlens, gaussian_config=model.config.gaussian_config)
    expected = model.decode_gaussians(latents, coords, cu_seqlens)
    found = model.decode_gaussians(latents, coords, cu_seqlens, layout=layout)
    assert all(torch.equal(one.means, other.means) for one, other in zip(found, expected, strict=True))
    with pytest.raises(ValueError, match="layout must have the Gaussian decoder's windows, got none"):
        model.decode_gaussians(latents, coords, cu_seqlens, layout=layout_of(coords, cu_seqlens))


def test_nothing_is_read_back_from_a_device():
    """Tensors of the meta device have no values, so that whatever reads one raises."""
    samples = pack([voxel_tokens(30), voxel_tokens(25, seed=1), as_tokens(media(20, 3, 32, 48))])
    voxels = pack([voxel_tokens(30), voxel_tokens(25, seed=1)])
    model = make_model(gaussian_config=GAUSSIANS).to("meta")
    layout = layout_of(*samples[1:]).to("meta")
    packed = [value.to("meta") for value in samples]
    encoded = model.encode(*packed, layout=layout)
    assert encoded.pooler_output.shape == (3, WIDTH)
    model.decode(encoded.latents, *packed[1:], layout=layout).pixel_values.sum().backward()
    layout = layout_of(*voxels[1:], gaussian_config=model.config.gaussian_config).to("meta")
    packed = [value.to("meta") for value in voxels]
    latents = model.encode(*packed, layout=layout).latents
    sum(each.means.sum() for each in model.decode_gaussians(latents, *packed[1:], layout=layout)).backward()
    with pytest.raises((RuntimeError, NotImplementedError), match="meta tensor"):
        model.encode(*packed)
    discrete = make_model(discrete=True).to("meta")
    codes = torch.zeros(len(voxels[0]), 2, dtype=torch.int64, device="meta")
    discrete.decode(codes=codes, coords=packed[1], cu_seqlens=packed[2], layout=layout)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"coords": torch.zeros(3, 4)}, "coords must be integers .N, 4. on the CPU, got torch.float32"),
        ({"lengths": [2, 2]}, "lengths must be positive and add up to the 3 rows of coords, got .2, 2."),
        ({"tile": 0}, "tile must be at least 1 latent frame, got 0"),
        ({"coords": torch.full((3, 4), -1)}, "coords must be in .0, 16777216., got values from -1 to -1"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"coords": torch.zeros(3, 4, dtype=torch.long), "lengths": [1, 2], "tile": 4}
    with pytest.raises(ValueError, match=message):
        PackedLayout.build(**{**arguments, **change})


def test_a_layout_of_other_tokens_is_refused():
    features, coords, cu_seqlens = mixed()
    with pytest.raises(ValueError, match="layout must be that of the 1 tokens, got one of"):
        make_model().encode(features[:1], coords[:1], torch.tensor([0, 1]), layout=layout_of(coords, cu_seqlens))
