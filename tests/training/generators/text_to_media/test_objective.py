"""What the generator learns, against formulas."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import norm

from atoken.generation import TextCondition
from atoken.training.contracts import Share
from atoken.training.generators.text_to_media.building import start_at_zero
from atoken.training.generators.text_to_media.objective import with_null

from ....generation.media_helpers import media_transformer
from .samples import batch, condition, objective

WHOLE = Share(tokens=1.0, samples=1.0)


def test_the_loss_is_the_mean_square_of_the_velocity_from_data_to_noise():
    """From what the model is given: x = (1 - t) data + t noise, so noise - data = (x - data) / t, in float64."""
    learned, given = objective(text_dropout=0.0), {}
    samples = batch(frames=2)
    learned.model.register_forward_hook(lambda _, inputs, outputs: given.update(x=inputs[0], t=inputs[1], v=outputs[0]))
    parts = learned(samples, WHOLE)
    time = given["t"].double().view(-1, 1, 1, 1, 1) / 1000
    velocity = (given["x"].double() - samples.latents.double()) / time
    assert float(parts["loss"]) == pytest.approx(float((given["v"].double() - velocity).square().mean()), rel=1e-5)
    assert float(parts["video loss"]) == float(parts["loss"])


def test_a_model_that_begins_at_zero_has_the_loss_of_data_and_noise():
    model = media_transformer()
    start_at_zero(model)
    parts = objective(model)(batch(256), WHOLE)
    assert float(parts["loss"].detach()) == pytest.approx(2.0, rel=0.05)
    parts["loss"].backward()
    assert float(model.proj_out.weight.grad.abs().max()) > 0


@pytest.mark.parametrize(("frames", "options"), [(1, {}), (4, {}), (4, {"shift": 3.0}), (4, {"logit_mean": 0.5})])
def test_times_are_shifted_logit_normals(frames, options):
    learned = objective(**options)
    latents = torch.zeros(4096, 4, frames, 2, 3)
    times = learned.times(latents, torch.Generator().manual_seed(0))
    shift = options.get("shift", (1 + 2 * (6 - 256) / 3840) * frames**0.5)
    for share in (0.1, 0.5, 0.9):
        even = 1 / (1 + torch.exp(-torch.tensor(norm.ppf(share) + options.get("logit_mean", 0.0)))).item()
        assert float(times.quantile(share)) == pytest.approx(shift * even / (1 + (shift - 1) * even), abs=0.02)


def test_times_are_shifted_by_tokens_and_not_by_latents():
    """Patches of 2 x 2 latents have a quarter of the tokens."""
    found = [
        objective(media_transformer(patch_size=size)).times(
            torch.zeros(64, 4, 4, 4 * size, 6 * size), torch.Generator().manual_seed(0)
        )
        for size in (1, 2)
    ]
    assert torch.equal(*found)


def test_captions_are_dropped_in_their_share_and_whole():
    learned, seen = objective(text_dropout=0.1), {}
    learned.model.register_forward_pre_hook(
        lambda _, given: seen.update(embeds=given[2], mask=given[3], pooled=given[4])
    )
    with torch.no_grad():
        learned(batch(2000), WHOLE)
    null, own = condition(1, 1), condition(2000)
    dropped = (seen["pooled"] == null.pooled).all(1)
    assert float(dropped.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert (seen["mask"][dropped].sum(1) == 1).all() and torch.equal(seen["mask"][~dropped], own.mask[~dropped])
    assert torch.equal(seen["embeds"][dropped][:, 0], null.embeds[:, 0].expand(int(dropped.sum()), -1))
    assert not seen["embeds"][dropped][:, 1:].any()


def test_an_empty_text_that_is_longer_than_all_others():
    own, null = condition(2, 1), TextCondition(*(each[3:] for each in vars(condition(4)).values()))
    mixed = with_null(own, null, torch.tensor([True, False]))
    assert mixed.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert torch.equal(mixed.embeds[0], null.embeds[0]) and torch.equal(mixed.embeds[1, :1], own.embeds[1])


def test_losses_are_finite_where_every_caption_is_dropped():
    assert objective(text_dropout=1.0)(batch(), WHOLE)["loss"].isfinite()


def test_random_numbers_follow_from_seed_step_and_process():
    model = media_transformer()
    losses = [
        float(objective(model, seed)(batch(step=step, rank=rank), WHOLE)["loss"].detach())
        for seed, step, rank in ((0, 0, 0), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 4


@pytest.mark.parametrize("patch_size", [1, 2])
def test_operations_of_a_step_are_those_of_its_products(patch_size):
    """Against torch's own counter, which counts a forward pass without the backward one's two thirds."""
    from torch.utils.flop_counter import FlopCounterMode

    learned, samples = objective(media_transformer(patch_size=patch_size)), batch(4, frames=2)
    samples = replace(samples, latents=samples.latents.repeat(1, 1, 1, patch_size, patch_size))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        learned(samples, WHOLE)
    assert learned.count_flops(samples) / 3 == pytest.approx(counter.get_total_flops(), rel=0.1)
