"""The paper's losses (section 3.3) without networks of their own: pixels, semantics, and the latents' prior.

All of them compute in float32 whatever they are given, also within autocast, and return means over the tokens or the
samples that they are given. Losses of understanding compare these with the texts of a whole step, which come from a
frozen tower: so they are sums over pictures, and any number of micro batches gives the gradient of all at once.
There is no discriminator. Losses by frozen networks are in `perceptual.py`.
"""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch.nn import functional as F

DISTILLATION_TEMPERATURE = 2.0
# Where the sigmoid loss starts: exp(scale) = 10, and a bias that makes almost every pair a negative.
SIGMOID_SCALE, SIGMOID_BIAS = math.log(10), -10.0


def l1_loss(reconstruction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """
    Computes the mean of |x - y| over patches at native resolution.

    Args:
        reconstruction, target: (N, patch_dim) packed patches, or pictures of any one shape.
        valid: of the same shape, or one that broadcasts to it; what lies beyond a medium's true size does not count.
    """
    error = (reconstruction.float() - target.float()).abs()
    if valid is None:
        return error.mean()
    valid = valid.to(error.dtype).expand_as(error)
    return (error * valid).sum() / valid.sum()


def log_mse_loss(reconstruction: torch.Tensor, target: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """
    Computes the mean over samples of log(mean (x - y)^2 + 1e-5): apart from its sign and a factor the mean PSNR.

    It is not from the paper. It takes the place of networks that are not at hand, as every sample counts alike, however
    large or easy it is.

    Args:
        reconstruction, target: (N, patch_dim) packed patches in [-1, 1].
        lengths: patches of every sample.
    """
    errors = (reconstruction.float() - target.float()).square().mean(1)  # (N,)
    counts = torch.tensor(lengths, device=errors.device)
    owners = torch.repeat_interleave(counts, output_size=len(errors))
    sums = errors.new_zeros(len(lengths)).index_add(0, owners, errors)
    return (sums / counts + 1e-5).log().mean()


def log_mse_of_views(pictures: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """Computes `log_mse_loss` of views (K, 3, S, S) in [0, 1], each of which counts alike."""
    # A view as one patch, in [-1, 1] but for an offset, which the difference does not have.
    return log_mse_loss(2 * pictures.flatten(1), 2 * originals.flatten(1), [1] * len(pictures))


def kl_loss(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Computes KL(N(mean, exp(logvar)) || N(0, 1)) of (N, latent_channels): a sum over channels, a mean over tokens."""
    mean, logvar = mean.float(), logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(-1).mean()


def gather_texts(texts: torch.Tensor, counts: Sequence[int] | None = None) -> tuple[torch.Tensor, int]:
    """
    Gathers the texts (B, d) of all processes: (sum of B, d) in the order of ranks, and where this one's begin.

    Args:
        counts: how many each process has; None if all have as many.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return texts, 0
    counts = [len(texts)] * dist.get_world_size() if counts is None else list(counts)
    padded = F.pad(texts.contiguous(), (0, 0, 0, max(counts) - len(texts)))
    found = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(found, padded)
    joined = torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])
    return joined, sum(counts[: dist.get_rank()])


def _scores(samples: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    with torch.autocast(samples.device.type, enabled=False):
        return F.normalize(samples.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    texts: torch.Tensor,
    logit_scale: torch.Tensor | float,
    temperature: float = DISTILLATION_TEMPERATURE,
) -> torch.Tensor:
    """
    Computes KL(softmax(teacher / tau) || softmax(student / tau)) over the texts of a step (equation 7), a mean over
    images.

    Scores are exp(logit_scale) times cosines; a bias would cancel.

    Args:
        student, teacher: (B, d) embeddings of the same images; only the student's get a gradient.
        texts: (M, d) embeddings of all texts by the frozen text tower, see `gather_texts`.
        logit_scale: the teacher's, a logarithm.
    """
    texts = texts.detach()
    factor = torch.as_tensor(logit_scale, dtype=torch.float32).detach().exp().to(student.device) / temperature
    with torch.no_grad():
        target = (factor * _scores(teacher, texts)).log_softmax(-1)
    prediction = (factor * _scores(student, texts)).log_softmax(-1)
    return F.kl_div(prediction, target, reduction="batchmean", log_target=True)


def sigmoid_loss(
    samples: torch.Tensor, texts: torch.Tensor, first: int, logit_scale: torch.Tensor, logit_bias: torch.Tensor
) -> torch.Tensor:
    """
    Computes SigLIP's loss, -mean_i sum_j log sigmoid(y_ij (exp(scale) cos_ij + bias)), where y is 1 for a sample's own
    text, else -1.

    Args:
        samples: (B, d) embeddings of videos or objects.
        texts: (M, d) of all texts of the step, see `gather_texts`.
        first: where the samples' own texts begin among them, in the same order.
        logit_scale, logit_bias: scalars, learned; see `SIGMOID_SCALE` and `SIGMOID_BIAS`.

    Raises:
        ValueError: not one text for each sample.
    """
    if first + len(samples) > len(texts) or samples.shape[1:] != texts.shape[1:]:
        raise ValueError(
            f"texts must have one for each of {tuple(samples.shape)} samples from {first} on, got {tuple(texts.shape)}"
        )
    logits = logit_scale.float().exp() * _scores(samples, texts) + logit_bias.float()  # (B, M)
    own = torch.arange(len(samples), device=logits.device)[:, None] + first
    signs = 2.0 * (own == torch.arange(len(texts), device=logits.device)) - 1
    return -F.logsigmoid(signs * logits).sum(-1).mean()
