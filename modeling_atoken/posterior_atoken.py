"""The distribution of an autoencoder's latents, with all that diffusers' `DiagonalGaussianDistribution` offers."""

import math
from collections.abc import Sequence

import torch

from .outputs_atoken import LatentDistribution

Generators = torch.Generator | Sequence[torch.Generator]


class LatentPosterior(LatentDistribution):
    """
    Diagonal Gaussian over dense latents, one sample of the batch in each row.

    Its values are those of diffusers' class for the same moments, but for log-variances outside of [-30, 20], which
    diffusers clamps: here they are as the encoder gives them, as in the released checkpoints.

    Args:
        parameters: (B, 2 * latent_channels, [t,] h, w), mean and log-variance.
        deterministic: whether every draw is the mean; standard deviation and variance are then 0.

    Attributes:
        parameters, mean, logvar, std, var, deterministic: tensors of the latents' shape but for `parameters`.
    """

    def __init__(self, parameters: torch.Tensor, deterministic: bool = False):
        super().__init__(parameters, dim=1)
        self.parameters = parameters
        self.deterministic = deterministic

    @property
    def std(self) -> torch.Tensor:
        return torch.zeros_like(self.mean) if self.deterministic else torch.exp(0.5 * self.logvar)

    @property
    def var(self) -> torch.Tensor:
        return torch.zeros_like(self.mean) if self.deterministic else torch.exp(self.logvar)

    def sample(self, generator: Generators | None = None) -> torch.Tensor:
        """
        Draws mean + std * noise.

        Args:
            generator: one for the batch, or a list of one for each sample, so that a sample does not depend on the
                others. The noise is drawn on its device.

        Raises:
            ValueError: if the list has another length than the batch.
        """
        if not isinstance(generator, (list, tuple)):
            return self.mean if self.deterministic else super().sample(generator)
        if len(generator) == 1:
            return self.sample(generator[0])
        if len(generator) != len(self.mean):
            raise ValueError(
                f"generator must be one for all or a list of {len(self.mean)}, one for each sample, got "
                f"{len(generator)}"
            )
        return torch.cat([self._of_sample(index).sample(one) for index, one in enumerate(generator)])

    def _of_sample(self, index: int) -> "LatentPosterior":
        return LatentPosterior(self.parameters[index : index + 1], self.deterministic)

    def kl(self, other: LatentDistribution | None = None) -> torch.Tensor:
        """
        Gives the KL divergence of each sample, (B,) fp32, from the standard normal or another distribution.

        It is 0 for a deterministic distribution, which has no density.
        """
        return self._no_density() if self.deterministic else super().kl(other)

    def nll(self, sample: torch.Tensor, dims: int | Sequence[int] | None = None) -> torch.Tensor:
        """
        Gives the negative log-likelihood of latents, in fp32.

        Args:
            sample: of the latents' shape.
            dims: the dimensions to sum over; all but the first by default, which leaves (B,).

        Returns:
            The sum; zeros (B,) for a deterministic distribution, which has no density.
        """
        if self.deterministic:
            return self._no_density()
        mean, logvar = self.mean.float(), self.logvar.float()
        terms = math.log(2 * math.pi) + logvar + (sample.float() - mean).square() / logvar.exp()
        return 0.5 * (terms.flatten(1).sum(1) if dims is None else terms.sum(dims))

    def _no_density(self) -> torch.Tensor:
        return self.mean.new_zeros(len(self.mean), dtype=torch.float32)


class QuantizedDistribution(LatentPosterior):
    """
    Holds the latents of a discrete model in the shape of a distribution: every draw is the same.

    `mode()` and `sample()` are the quantized values, so that whatever a pipeline takes can be decoded as it is. The
    variance is 0 (`logvar` is -inf), and `kl()` is 0 because a codebook has no prior to keep close to.

    Args:
        values: quantized latents (B, latent_channels, [t,] h, w).
    """

    def __init__(self, values: torch.Tensor):
        super().__init__(torch.cat([values, torch.full_like(values, -math.inf)], dim=1), deterministic=True)


__all__ = ["LatentPosterior", "QuantizedDistribution"]
