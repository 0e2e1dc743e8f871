"""Heads of an untrained Gaussian decoder tell where neighbors are: against means computed from all pairs of voxels."""

import pytest
import torch

from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.gaussian_decoder_atoken import sinusoidal_positions
from atoken.gaussian_windows_atoken import shifted_windows
from atoken.training.frozen_rows import ProtectedRows
from atoken.training.recipes.tiny.local_averages import (
    AROUND,
    GAIN,
    HEAD_DIM,
    NEXT,
    has_looks,
    look_around,
    looking_parameters,
    protect_looks,
)
from atoken.training.recipes.tiny.train_gaussians import build_decoder

from ....modeling.helpers import make_model


@pytest.fixture(scope="module", params=[96, 128])
def looking(request):
    torch.manual_seed(0)
    decoder = build_decoder(width=request.param, layers=3, num_gaussians=2)
    patches = torch.rand(1000, 768) * 2 - 1
    look_around(decoder, patches)
    return decoder, patches


def tilted_plane():
    """Gives the voxels that a plane runs through, about the middle of the grid: (N, 3)."""
    grid = torch.cartesian_prod(*[torch.arange(22, 42)] * 3)
    normal = torch.nn.functional.normalize(torch.tensor([0.5, 0.3, 0.8]), dim=0)
    return grid[((grid - 31.5) @ normal).abs() < 0.6]


@pytest.mark.parametrize("block, shift", [(0, 0), (1, 4)])
def test_heads_write_mean_offsets_of_neighbors(looking, block, shift):
    decoder, patches = looking
    coords = tilted_plane()
    features = patches[torch.arange(len(coords)) % len(patches)]
    width, heads = decoder.config.hidden_size, decoder.config.num_attention_heads
    hidden = decoder.input_layer(features) + sinusoidal_positions(coords, width)
    groups = shifted_windows(coords, [len(coords)], decoder.config)[block]
    attention = decoder.blocks[block].attn
    with torch.no_grad():
        found = attention(decoder.blocks[block].norm1(hidden), groups).double() / GAIN
    window = (coords + shift) // 8
    apart = (window[None] != window[:, None]).any(-1)
    offsets = (coords[None] - coords[:, None]).double()  # (N, N, 3)
    places = [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    for head, place in enumerate(places[: heads - 1], start=1):
        spread = NEXT if any(place) else AROUND
        logits = -(offsets - torch.tensor(place)).square().sum(-1) / (2 * spread**2)
        expected = (logits.masked_fill(apart, -torch.inf).softmax(-1)[..., None] * offsets).sum(1)  # (N, 3)
        for axis in range(3):
            channels = (attention.out_proj.weight[:, HEAD_DIM * head + axis] == GAIN).nonzero()
            assert len(channels) == (place[axis] != 0 or not any(place))
            for channel in channels[:, 0].tolist():
                pair = torch.stack([found[:, channel], expected[:, axis]])
                assert float(torch.corrcoef(pair)[0, 1]) > 0.98
                assert float((pair[0] - pair[1]).abs().mean()) < 0.06


def test_features_are_principal_components_in_channels_of_their_own(looking):
    decoder, patches = looking
    with torch.no_grad():
        features = decoder.input_layer(patches).double()
    # Uncorrelated, weak together, and nowhere where positions vary.
    used = features.abs().amax(0) > 0
    positions = sinusoidal_positions(torch.arange(64)[:, None].expand(64, 3), decoder.config.hidden_size)
    assert used.sum() >= 20 and float((positions.amax(0) - positions.amin(0))[used].max()) < 0.35
    square = (features.mT @ features / len(features))[used][:, used]
    assert float((square - square.diagonal().diag()).abs().max()) < 1e-3 * float(square.diagonal().max())
    assert float(square.trace()) == pytest.approx(0.3, rel=1e-3)


def test_what_looks_around_is_not_trained(looking):
    decoder, _ = looking
    listed = {id(parameter) for parameter in looking_parameters(decoder)}
    kept = {name for name, parameter in decoder.named_parameters() if id(parameter) in listed}
    attention = {
        f"blocks.{i}.{name}" for i in (0, 1) for name in ("norm1.weight", "attn.qkv.weight", "attn.out_proj.weight")
    }
    assert kept == attention | {"input_layer.weight"}


def test_it_is_recorded_beside_a_model_where_its_decoder_looks(tmp_path):
    model = attach_gaussian_decoder(make_model(), build_decoder(width=96, layers=3, num_gaussians=2))
    before = tmp_path / "before"
    before.mkdir()
    ProtectedRows({"decoder.input_layer.weight": torch.tensor([3])}).save(before)
    protect_looks(model, before, tmp_path)
    assert has_looks(tmp_path) and not has_looks(before)
    rows = ProtectedRows.load(str(tmp_path)).rows
    assert rows["decoder.input_layer.weight"].tolist() == [3]
    assert len(rows["gaussian_decoder.input_layer.weight"]) == model.gaussian_decoder.config.hidden_size
