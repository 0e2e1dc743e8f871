"""Stage 4 begins with the latents it has, rounded: which are coded how finely, and blocks that fold and unfold them."""

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.training.data.batches import TrainingBatch
from atoken.training.frozen_rows import ProtectedRows
from atoken.training.recipes.tiny.fsq_allocation import Coding, cells_of, measure, plan
from atoken.training.recipes.tiny.fsq_blocks import add_blocks, moved_name
from atoken.training.recipes.tiny.pca_start import Pca, protected_rows, spare_channels, start_from_pca

SPARE = 24
SWITCH = 47  # a latent that is the same for all tokens of images


def continuous(num_spare: int) -> AtokenModel:
    torch.manual_seed(0)
    model = AtokenModel(AtokenConfig.from_preset("tiny"))
    pcas = (Pca.fit(torch.randn(400, size) * torch.linspace(2, 0.1, size), 128) for size in (768, 3072))
    start_from_pca(model, *pcas, num_spare)
    # As training leaves it: blocks add something to all channels but those that are protected.
    with torch.no_grad():
        protected = {id(p): rows for p, rows in protected_rows(model, 11 + num_spare, 4 + num_spare)}
        for block in (*model.vision_model.blocks, *model.decoder.blocks):
            for parameter in (*block.attn.parameters(), *block.mlp.parameters()):
                noise = 0.005 * torch.randn_like(parameter)
                noise[protected.get(id(parameter), [])] = 0
                parameter += noise
    return model.eval()


@pytest.fixture(scope="module")
def model() -> AtokenModel:
    return continuous(SPARE)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(6, 3, 5, 5, generator=generator) * 0.5
    return torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic").clamp(-1, 1)


def importance() -> torch.Tensor:
    """Gives (48,) costs of a squared error: most in the first two latents, so that there are counts of all kinds."""
    weights = torch.linspace(3, 0.3, 48).square()
    weights[:2] *= 30
    return weights


def coding_of(model: AtokenModel, pixels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, Coding]:
    with torch.no_grad():
        latents = model.encode(pixels, pool=False).latents
    return latents, plan(latents, weights.expand_as(latents), latents.shape[1], switches=(SWITCH,))


def rounded(latents: torch.Tensor, coding: Coding) -> torch.Tensor:
    """Gives the latents that a coding stands for, by its definition."""
    values = coding.means.repeat(len(latents), 1)
    for k, latent in enumerate(coding.latents.tolist()):
        cells = cells_of(latents[:, latent] - coding.centers[k], int(coding.counts[k]), float(coding.reaches[k]))
        values[:, latent] = coding.values[k][cells]
    return values


def margins(latents: torch.Tensor, coding: Coding) -> torch.Tensor:
    """Gives for each token how far the nearest border between two cells is from one of its latents, in cells."""
    found = []
    for k, latent in enumerate(coding.latents.tolist()):
        cells, reach = 4 ** int(coding.counts[k]), float(coding.reaches[k])
        if latent != SWITCH:
            places = (latents[:, latent] - coding.centers[k] + reach) / (2 * reach) * cells
            found.append((places - places.round().clamp(1, cells - 1)).abs())
    return torch.stack(found, 1).amin(1)


def test_channels_go_where_they_take_away_most():
    torch.manual_seed(0)
    deviations = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 3.0])
    latents = torch.randn(4000, 8) * deviations + 5
    weights = torch.ones(8)
    weights[7] = 1e-6  # costs next to nothing
    coding = plan(latents, weights.expand_as(latents), 10)
    counts = dict(zip(coding.latents.tolist(), coding.counts.tolist(), strict=True))
    assert sum(counts.values()) == 10 and 7 not in counts and 6 not in counts
    assert [counts.get(k, 0) for k in range(6)] == sorted((counts.get(k, 0) for k in range(6)), reverse=True)
    # The best of 4 equal cells with free values has 0.1188 of a normal distribution's variance (Max, 1960), 16 have
    # 0.01154 and 64 have 0.00104; no other way to share out the channels is better.
    left = {0: 1.0, 1: 0.1188, 2: 0.01154, 3: 0.00104}
    spread = deviations.square() * weights

    def cost(shares: dict[int, int]) -> float:
        return float(sum(spread[k] * left[shares.get(k, 0)] for k in range(8)))

    for giver in counts:
        for taker in range(8):
            if giver != taker and counts.get(taker, 0) < 3:
                other = {**counts, giver: counts[giver] - 1, taker: counts.get(taker, 0) + 1}
                assert cost(counts) <= cost(other)
    error = (rounded(latents, coding) - latents).square().mean(0)
    for k in range(8):
        assert error[k] <= deviations[k] ** 2 * left[counts.get(k, 0)] * 1.25
    assert 7 in plan(latents, weights.expand_as(latents), 10, switches=(7,)).latents.tolist()


def test_a_squared_error_costs_what_it_does_to_pixels():
    """Checks it on the PCA start: the squared length of a latent's column of the decoder, over the patch's values."""
    torch.manual_seed(0)
    start = AtokenModel(AtokenConfig.from_preset("tiny"))
    image, video = (Pca.fit(torch.randn(400, size) * torch.linspace(2, 0.1, size), 128) for size in (768, 3072))
    start_from_pca(start, image, video)
    patches = torch.nn.functional.pad(torch.randn(900, 768) * 0.3, (0, 2304))
    places = torch.arange(900)
    coords = torch.stack([0 * places, places // 30, places % 30, 0 * places], 1)
    cu_seqlens = torch.tensor([0, 900], dtype=torch.int32)
    batch = TrainingBatch("image_reconstruction", patches, coords, cu_seqlens, [(1, 30, 30)], [900], [0])
    latents, weights = measure(start, [batch, batch])
    assert latents.shape == weights.shape == (1800, 48)
    expected = image.units[:47].square() / 768  # columns of unit length times their unit
    found = torch.stack([weights[0, :47], weights[-1, :47]]).mean(0) * 1800
    # A mean of 1,800 squares of normal numbers is within 15 % of its expectation.
    torch.testing.assert_close(found, expected, rtol=0.15, atol=0)
    assert (found / expected).mean() == pytest.approx(1, abs=0.02)


def test_the_discrete_model_decodes_the_rounded_latents(model, pixels):
    latents, coding = coding_of(model, pixels, importance())
    assert set(coding.counts.tolist()) == {1, 2, 3} and int(coding.counts.sum()) == 48
    discrete, _ = add_blocks(model, coding, SPARE)
    discrete.eval()
    assert len(discrete.vision_model.blocks) == 5 and len(discrete.decoder.blocks) == 6
    expected = rounded(latents, coding)
    with torch.no_grad():
        encoded = discrete.encode(pixels)
        assert encoded.codes.shape == (6 * 36, 8)
        found = discrete.decode(codes=encoded.codes, coords=encoded.coords, cu_seqlens=encoded.cu_seqlens)
        decoded = model.decode(expected, encoded.coords, encoded.cu_seqlens)
        difference = (found.pixel_values - decoded.pixel_values).abs().amax(1)
        # Blocks compute a latent's place to a thousandth of a cell; nearer to a border it may be told to the neighbor.
        told = margins(latents, coding) > 1e-3
        assert told.float().mean() > 0.9 and difference[told].max() < 0.02
        plain = (decoded.pixel_values - model.decode(latents, encoded.coords, encoded.cu_seqlens).pixel_values).abs()
        assert difference[told].mean() < 0.1 * plain.mean()
        similar = torch.cosine_similarity(encoded.pooler_output, model.encode(pixels).pooler_output)
        assert similar.min() > 0.9995  # folds move the mean that norms take off
        # Weights in bf16, as checkpoints hold them, still decode them.
        discrete.to(torch.bfloat16).to(torch.float32)
        again = discrete.decode(codes=encoded.codes, coords=encoded.coords, cu_seqlens=encoded.cu_seqlens)
        assert (again.pixel_values - found.pixel_values).abs().mean() < 0.15 * plain.mean()


def test_training_leaves_the_codes_alone(model, pixels, tmp_path):
    _, coding = coding_of(model, pixels, importance())
    discrete, rows = add_blocks(model, coding, SPARE)
    names = {moved_name(name) for name, _ in model.named_parameters()}
    assert names < {name for name, _ in discrete.named_parameters()}
    kept = ProtectedRows.of(discrete, rows)
    optimizer = torch.optim.SGD([p for p in discrete.parameters() if p.requires_grad], lr=1e-3)
    before = {name: value.clone() for name, value in discrete.state_dict().items()}
    encoded = discrete.encode(pixels)
    decoded = discrete.decode(encoded.latents, encoded.coords, encoded.cu_seqlens)
    (decoded.pixel_values.square().sum() + encoded.pooler_output.square().sum()).backward()
    kept.before_clip(discrete)
    optimizer.step()
    moved = {name for name, value in discrete.state_dict().items() if not torch.equal(value, before[name])}
    assert {"decoder.blocks.0.attn.out_proj.weight", "vision_model.blocks.0.mlp.fc2.weight"} <= moved
    assert not moved & {"latent_proj.weight", "vision_model.post_layernorm.weight", "decoder.blocks.1.mlp.fc2.weight"}
    for name, indices in kept.rows.items():
        assert torch.equal(discrete.state_dict()[name][indices], before[name][indices])


def test_spare_channels_are_read_from_the_recorded_rows(model, tmp_path):
    ProtectedRows.of(model, protected_rows(model, 11 + SPARE, 4 + SPARE)).save(tmp_path)
    assert spare_channels(ProtectedRows.load(str(tmp_path)).rows) == SPARE


def test_a_model_without_room_is_refused(pixels):
    small = continuous(4)
    _, coding = coding_of(small, pixels, importance())
    with pytest.raises(ValueError, match=r"num_spare must be at least \d+ for this coding, got 4"):
        add_blocks(small, coding, 4)
