"""The outputs of encoding, of decoding and of the whole model."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput


class LatentDistribution:
    """
    Diagonal Gaussian over latents, from the encoder's moments.

    Args:
        moments: mean and log-variance, concatenated along `dim`. The log-variance is not clamped, as in the released
            checkpoints.
        dim: the channel dimension.
    """

    def __init__(self, moments: torch.Tensor, dim: int = -1):
        if moments.shape[dim] % 2:
            raise ValueError(f"moments must hold as many means as log-variances, got {moments.shape[dim]} channels")
        self.dim = dim
        self.mean, self.logvar = moments.chunk(2, dim=dim)

    def mode(self) -> torch.Tensor:
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """mean + exp(logvar / 2) * noise. The noise is drawn on the generator's device, so a seed suits all devices."""
        device = generator.device if generator is not None else self.mean.device
        noise = torch.randn(self.mean.shape, generator=generator, device=device, dtype=self.mean.dtype)
        return self.mean + torch.exp(0.5 * self.logvar) * noise.to(self.mean.device)

    def kl(self, other: "LatentDistribution | None" = None) -> torch.Tensor:
        """
        Gives the KL divergence from the standard normal, or from another distribution, in fp32.

        It is summed over all dimensions but the first, as in diffusers: one value per token of packed moments
        (N, channels), and one per sample of dense moments (B, channels, ...).
        """
        mean, logvar = self.mean.float(), self.logvar.float()
        if other is None:
            terms = mean.square() + logvar.exp() - 1.0 - logvar
        else:
            from_mean, from_logvar = other.mean.float(), other.logvar.float()
            distance = (mean - from_mean).square() / from_logvar.exp()
            terms = distance + (logvar - from_logvar).exp() - 1.0 - logvar + from_logvar
        return 0.5 * terms.flatten(1).sum(1)


@dataclass
class AtokenEncoderOutput(ModelOutput):
    """
    Output of [`AtokenModel.encode`], all in packed order.

    Attributes:
        latents (N, latent_channels): what the decoder takes: the mean, or the quantized values of a discrete model.
        latent_dist: the posterior, with `.mode()`, `.sample(generator)` and `.kl()`.
        codes (N, num_codebooks): integers of a discrete model, else None.
        last_hidden_state (N, d): dense features.
        pooler_output (B, d): one embedding per sample, not normalized. None with `pool=False`.
        coords (N, 4), cu_seqlens (B + 1,): positions and lengths, for `decode`.
        hidden_states: the embeddings and every block's output, each (N, d), on request.
    """

    latents: torch.Tensor | None = None
    latent_dist: Any = None
    codes: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    coords: torch.Tensor | None = None
    cu_seqlens: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor | None, ...] | None = None


@dataclass
class AtokenDecoderOutput(ModelOutput):
    """Output of the decoder: `pixel_values` (N, patch_dim), about [-1, 1] and not clamped."""

    pixel_values: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor | None, ...] | None = None


@dataclass
class AtokenOutput(ModelOutput):
    """
    Output of [`AtokenModel`].

    Attributes:
        loss: on request, see [`AtokenModel.forward`].
        image_embeds (B, d), text_embeds (texts, d): L2-normalized.
        logits_per_image (B, texts), logits_per_text (texts, B): scaled and shifted cosines, if text is given.
        last_hidden_state, latent_dist, codes, pooler_output: as in [`AtokenEncoderOutput`]. Without texts and loss
            `last_hidden_state` comes first, as in any model of transformers that gives features.
        reconstruction (N, patch_dim): decoded patches.
        hidden_states, decoder_hidden_states: the embeddings and every block's output of encoder and decoder, each
            (N, d), on request.
    """

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    latent_dist: Any = None
    codes: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor | None, ...] | None = None
    decoder_hidden_states: tuple[torch.Tensor | None, ...] | None = None
