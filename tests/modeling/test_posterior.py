"""The distribution of an autoencoder's latents against diffusers' class and against torch.distributions."""

import pytest
import torch

vae = pytest.importorskip("diffusers.models.autoencoders.vae")

from atoken.posterior_atoken import LatentPosterior, QuantizedDistribution  # noqa: E402

IMAGES, VIDEOS = (3, 8, 4, 5), (3, 8, 2, 4, 5)


def moments(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("deterministic", [False, True])
def test_everything_that_diffusers_offers(deterministic):
    parameters, sample = moments(IMAGES), moments((3, 4, 4, 5), seed=1)
    ours, theirs = (
        LatentPosterior(parameters, deterministic),
        vae.DiagonalGaussianDistribution(parameters, deterministic),
    )
    missing = {name for name in (*vars(theirs), *dir(theirs)) if name[0] != "_" and not hasattr(ours, name)}
    assert not missing
    for name in ("parameters", "mean", "logvar", "std", "var"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.mode(), theirs.mode())
    other = LatentPosterior(moments(IMAGES, seed=2))
    for value, expected in (
        (ours.kl(), theirs.kl()),
        (ours.kl(other), theirs.kl(vae.DiagonalGaussianDistribution(other.parameters))),
        (ours.kl(vae.DiagonalGaussianDistribution(other.parameters)), ours.kl(other)),
        (ours.nll(sample), theirs.nll(sample)),
    ):
        torch.testing.assert_close(value, expected.expand(3), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("shape", [IMAGES, VIDEOS])
def test_one_generator_for_each_sample(shape):
    parameters = moments(shape)
    ours, theirs = LatentPosterior(parameters), vae.DiagonalGaussianDistribution(parameters)
    assert torch.equal(ours.sample(generators(3, 4, 5)), theirs.sample(generators(3, 4, 5)))
    assert torch.equal(ours.sample(tuple(generators(3, 4, 5))), theirs.sample(generators(3, 4, 5)))
    assert torch.equal(ours.sample(generators(3)), theirs.sample(generators(3)))
    assert torch.equal(ours.sample(*generators(3)), theirs.sample(*generators(3)))
    alone = LatentPosterior(parameters[1:2]).sample(generators(4))
    assert torch.equal(ours.sample(generators(3, 4, 5))[1:2], alone)
    for wrong in ((3, 4), (3, 4, 5, 6), ()):
        with pytest.raises(ValueError, match=r"generator must be one for all or a list of 3"):
            ours.sample(generators(*wrong))


def test_the_likelihood_of_videos_is_that_of_each_sample():
    posterior, sample = LatentPosterior(moments(VIDEOS).double()), moments((3, 4, 2, 4, 5), seed=1).double()
    expected = -torch.distributions.Normal(posterior.mean, posterior.std).log_prob(sample)
    torch.testing.assert_close(posterior.nll(sample).double(), expected.flatten(1).sum(1), atol=1e-3, rtol=1e-5)
    by_frame = posterior.nll(sample, dims=[1, 3, 4]).double()
    torch.testing.assert_close(by_frame, expected.sum((1, 3, 4)), atol=1e-3, rtol=1e-5)
    assert posterior.nll(sample.half(), dims=1).dtype == torch.float32


def test_quantized_latents_are_certain():
    values = moments((2, 4, 2, 3, 3)).round()
    posterior = QuantizedDistribution(values)
    assert posterior.deterministic and torch.equal(posterior.mean, values)
    for draw in (posterior.sample(), posterior.sample(torch.Generator()), posterior.sample(generators(1, 2))):
        assert torch.equal(draw, values)
    assert not posterior.std.any() and not posterior.var.any() and not posterior.logvar.exp().any()
    assert torch.equal(posterior.parameters.chunk(2, dim=1)[0], values)
    assert posterior.kl().tolist() == posterior.kl(posterior).tolist() == posterior.nll(values).tolist() == [0, 0]
