"""Models of image to 3D against other formulas: dense convolutions, other orders, other batches, published sizes."""

import pytest
import torch

from atoken.generation import SparseStructureAutoencoder, SparseStructureFlowModel, StructuredLatentFlowModel
from atoken.generation.packed_sequences_atoken import PackedSequences
from atoken.generation.sparse_blocks_atoken import SparseConv3d
from atoken.generation.sparse_grid_atoken import SparseLayout

from .object_helpers import latent_flow, structure_flow, structure_vae


def objects(*counts: int, resolution: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random voxels [t, x, y, z] of packed objects in no order, and where each object starts."""
    generator = torch.Generator().manual_seed(seed)
    flat = torch.cat([torch.randperm(resolution**3, generator=generator)[:count] for count in counts])
    axes = [flat // resolution**2, flat // resolution % resolution, flat % resolution]
    starts = torch.tensor([0, *counts]).cumsum(0)
    return torch.stack([torch.full_like(flat, 7), *axes], dim=1), starts


@pytest.mark.parametrize(("wide", "narrow"), [(3, 5), (6, 2)])
def test_a_sparse_convolution_is_a_dense_one_read_at_the_voxels(wide, narrow):
    coords, starts = objects(100, 37)
    layout = SparseLayout.build(coords, starts, 8)
    torch.manual_seed(0)
    conv = SparseConv3d(wide, narrow).double()
    hidden = torch.randn(137, wide, dtype=torch.float64)
    sample = layout.voxels.sequences.sample
    places = (sample, *coords[:, 1:].T)
    dense = torch.zeros(2, 8, 8, 8, wide, dtype=torch.float64)
    dense[places] = hidden
    weight = conv.weight.permute(0, 4, 1, 2, 3)
    expected = torch.nn.functional.conv3d(dense.permute(0, 4, 1, 2, 3), weight, conv.bias, padding=1)
    expected = expected.permute(0, 2, 3, 4, 1)[places]
    # Sums are in fp32.
    torch.testing.assert_close(conv(hidden, layout.voxels), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("counts_zero", [False, True])
def test_cells_are_means_of_their_voxels(counts_zero):
    coords, starts = objects(100, 37)
    layout = SparseLayout.build(coords, starts, 8)
    hidden = torch.randn(137, 3, generator=torch.Generator().manual_seed(0))
    sums: dict[tuple, list] = {}
    for index, (_, x, y, z) in enumerate(coords.tolist()):
        sums.setdefault((int(index >= 100), x // 2, y // 2, z // 2), []).append(hidden[index])
    expected = torch.stack([sum(sums[key]) / (len(sums[key]) + counts_zero) for key in sorted(sums)])
    torch.testing.assert_close(layout.halve(hidden, counts_zero), expected)
    cells = torch.cat([layout.cells.sequences.sample[:, None], layout.cells.coords], dim=1)
    assert cells.tolist() == [list(key) for key in sorted(sums)]
    assert torch.equal(layout.restore(cells)[:, 1:], coords[:, 1:] // 2)


@torch.no_grad()
@pytest.mark.parametrize("counts", [(40, 40), (40, 17, 1)])
def test_voxels_in_any_order_and_objects_alone_give_the_same(counts):
    model = latent_flow()
    coords, starts = objects(*counts)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(sum(counts), 4, generator=generator)
    time, condition = torch.linspace(100, 900, len(counts)), torch.randn(len(counts), 5, 32, generator=generator)
    together = model(hidden, coords, starts, time, condition).sample
    for index, (start, count) in enumerate(zip(starts.tolist(), counts, strict=False)):
        order = start + torch.randperm(count, generator=generator)
        alone = model(hidden[order], coords[order], torch.tensor([0, count]), time[[index]], condition[[index]]).sample
        torch.testing.assert_close(alone, together[order], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("qk_norm_cross", [False, True])
def test_one_condition_for_all_and_none_for_zeros(qk_norm_cross):
    generator = torch.Generator().manual_seed(0)
    condition, time = torch.randn(1, 5, 32, generator=generator), torch.tensor([300.0, 700.0])
    zeros = torch.zeros(2, 5, 32)
    model = structure_flow(qk_norm_cross=qk_norm_cross)
    noisy = torch.randn(2, 2, 4, 4, 4, generator=generator)
    one, both = (model(noisy, time, given).sample for given in (condition, condition.expand(2, -1, -1)))
    torch.testing.assert_close(one, both, rtol=0, atol=1e-6)
    without, null = (model(noisy, time, given).sample for given in (None, zeros))
    torch.testing.assert_close(without, null, rtol=0, atol=1e-5)
    assert float((one - null).abs().max()) > 1e-2
    model = latent_flow(qk_norm_cross=qk_norm_cross)
    coords, starts = objects(40, 17)
    noisy = torch.randn(57, 4, generator=generator)
    one, both = (model(noisy, coords, starts, time, given).sample for given in (condition, condition.expand(2, -1, -1)))
    torch.testing.assert_close(one, both, rtol=0, atol=1e-6)
    without, null = (model(noisy, coords, starts, time, given).sample for given in (None, zeros))
    torch.testing.assert_close(without, null, rtol=0, atol=1e-5)


@torch.no_grad()
def test_under_autocast():
    model = latent_flow()
    coords, starts = objects(40, 17)
    hidden, time = torch.randn(57, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0, 700.0])
    expected = model(hidden, coords, starts, time, torch.ones(1, 5, 32)).sample
    with torch.autocast("cpu", torch.bfloat16):
        found = model(hidden, coords, starts, time, torch.ones(1, 5, 32)).sample
    assert float((found - expected).square().mean().sqrt() / expected.std()) < 0.02


def test_training_begins_at_zero_velocity():
    structure = SparseStructureFlowModel.from_preset("tiny", sample_size=2, in_channels=2, num_layers=1)
    assert not structure(torch.randn(1, 2, 2, 2, 2), torch.tensor([500.0]), torch.randn(1, 3, 192)).sample.any()
    latents = StructuredLatentFlowModel.from_preset("tiny", sample_size=8, in_channels=4, num_layers=1)
    coords, starts = objects(9)
    assert not latents(torch.randn(9, 4), coords, starts, torch.tensor([500.0]), torch.randn(1, 3, 192)).sample.any()


@pytest.mark.parametrize(
    ("model", "preset", "options", "parameters"),
    [
        (SparseStructureFlowModel, "L", {}, 555_543_560),
        (StructuredLatentFlowModel, "L", {"in_channels": 8}, 600_432_520),
        (StructuredLatentFlowModel, "L", {"in_channels": 48}, 600_442_800),
    ],
)
def test_parameters(model, preset, options, parameters):
    with torch.device("meta"):
        made = model.from_preset(preset, **options)
    assert sum(parameter.numel() for parameter in made.parameters()) == parameters


@pytest.mark.parametrize(
    ("preset", "options", "structure", "latents"),
    [
        ("B", {}, 156.7, 185.4),
        ("L", {"cross_attention_dim": 768}, 543.0, 587.8),
        ("XL", {}, 975.4, 1073.4),
    ],
)
def test_parameters_of_presets_for_texts(preset, options, structure, latents):
    with torch.device("meta"):
        models = (
            SparseStructureFlowModel.from_preset(preset, **options),
            StructuredLatentFlowModel.from_preset(preset, in_channels=8, **options),
        )
    counts = [round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) for model in models]
    assert counts == [structure, latents]


def test_parameters_of_the_autoencoder():
    with torch.device("meta"):
        vae = SparseStructureAutoencoder()
    counts = [sum(parameter.numel() for parameter in half.parameters()) for half in (vae.encoder, vae.decoder)]
    assert counts == [59_298_192, 73_671_201]


@pytest.mark.parametrize("make", [structure_vae, structure_flow, latent_flow])
def test_after_save_and_load(make, tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_lengths_of_packed_samples():
    even, ragged = (PackedSequences.of(lengths, torch.device("cpu")) for lengths in ([2, 2], [3, 1]))
    tokens, values = torch.arange(4)[:, None], torch.tensor([[10], [20]])
    for sequences, expected in ((even, [10, 11, 22, 23]), (ragged, [10, 11, 12, 23])):
        rows = sequences.rows(tokens) + sequences.spread(values)
        assert sequences.packed(rows).flatten().tolist() == expected


def test_other_latents_keep_all_but_the_first_and_the_last_layer():
    model = latent_flow()
    grown = model.with_latent_channels(6)
    assert grown.config.in_channels == 6 and grown.config.latents_mean is None
    assert not grown.proj_out.weight.any() and not grown.proj_out.bias.any()
    for name, value in model.state_dict().items():
        if not name.startswith(("proj_in.", "proj_out.")):
            assert torch.equal(grown.state_dict()[name], value), name
    coords, starts = objects(9)
    assert grown(torch.randn(9, 6), coords, starts, torch.tensor([5.0]), None).sample.shape == (9, 6)
