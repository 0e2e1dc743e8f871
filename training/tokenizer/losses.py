"""The paper's losses (section 3.3) without networks of their own: pixels, semantics, and the latents' prior.

All of them compute in float32 whatever they are given, and return means over the samples of this process. Texts are
gathered from all processes, so that the mean over processes, which data parallelism takes of gradients, is the loss of
the global batch. There is no discriminator. Losses by frozen networks are in `perceptual.py`.
"""

import math

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather
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
    owners = torch.arange(len(lengths), device=errors.device)
    counts = torch.tensor(lengths, device=errors.device)
    sums = errors.new_zeros(len(lengths)).index_add(0, owners.repeat_interleave(counts), errors)
    return (sums / counts + 1e-5).log().mean()


def kl_loss(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Computes KL(N(mean, exp(logvar)) || N(0, 1)) of (N, latent_channels): a sum over channels, a mean over tokens."""
    mean, logvar = mean.float(), logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(-1).mean()


def gather_texts(texts: torch.Tensor) -> tuple[torch.Tensor, int]:
    """
    Gathers the texts (B, d) of all processes: (P B, d) in the order of ranks, and where this one's begin.

    Every process must have as many. Gradients find their way back to where a text came from.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return texts, 0
    return torch.cat(all_gather(texts.contiguous())), dist.get_rank() * len(texts)


def _scores(samples: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    return F.normalize(samples.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    texts: torch.Tensor,
    logit_scale: torch.Tensor | float,
    temperature: float = DISTILLATION_TEMPERATURE,
) -> torch.Tensor:
    """
    Computes KL(softmax(teacher / tau) || softmax(student / tau)) over the global batch of texts (equation 7), a mean
    over images.

    Scores are exp(logit_scale) times cosines; a bias would cancel.

    Args:
        student, teacher: (B, d) embeddings of the same images; only the student's get a gradient.
        texts: (B, d) embeddings of this process's texts by the frozen text tower.
        logit_scale: the teacher's, a logarithm.
    """
    everything, _ = gather_texts(texts.detach())
    factor = torch.as_tensor(logit_scale, dtype=torch.float32).detach().exp().to(student.device) / temperature
    with torch.no_grad():
        target = (factor * _scores(teacher, everything)).log_softmax(-1)
    prediction = (factor * _scores(student, everything)).log_softmax(-1)
    return F.kl_div(prediction, target, reduction="batchmean", log_target=True)


def sigmoid_loss(
    samples: torch.Tensor, texts: torch.Tensor, logit_scale: torch.Tensor, logit_bias: torch.Tensor
) -> torch.Tensor:
    """
    Computes SigLIP's loss, -mean_i sum_j log sigmoid(y_ij (exp(scale) cos_ij + bias)), where y is 1 for a sample's own
    text, else -1.

    Args:
        samples: (B, d) embeddings of this process's videos or objects.
        texts: (B, d) of their texts; all processes' texts are negatives.
        logit_scale, logit_bias: scalars, learned; see `SIGMOID_SCALE` and `SIGMOID_BIAS`.

    Raises:
        ValueError: not one text for each sample.
    """
    if samples.shape != texts.shape:
        raise ValueError(f"texts must be one for each sample, {tuple(samples.shape)}, got {tuple(texts.shape)}")
    everything, start = gather_texts(texts)
    logits = logit_scale.float().exp() * _scores(samples, everything) + logit_bias.float()  # (B, P B)
    signs = torch.full_like(logits, -1.0)
    rows = torch.arange(len(samples), device=logits.device)
    signs[rows, start + rows] = 1.0
    return -F.logsigmoid(signs * logits).sum(-1).mean()
