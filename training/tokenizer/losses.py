"""The paper's losses (section 3.3), each by itself: pixels, perception, texture, semantics, and the latents' prior.

All of them compute in float32 whatever they are given, and return means over the samples of this process. Texts are
gathered from all processes, so that the mean over processes, which data parallelism takes of gradients, is the loss of
the global batch. There is no discriminator.
"""

import math
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from atoken.evaluation.metrics.feature_networks import gram_matrix, load_lpips, random_lpips

PERCEPTUAL_SIDE = 224
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


def perceptual_size(images: torch.Tensor) -> torch.Tensor:
    """Resizes (B, 3, H, W) to (B, 3, 224, 224) float32, bilinear with antialias, for perceptual losses."""
    size = (PERCEPTUAL_SIDE, PERCEPTUAL_SIDE)
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)


class VggLosses(nn.Module):
    """
    Computes LPIPS and Gram loss (equation 5) from one pass through one frozen VGG-16.

    LPIPS is version 0.1. Gram: G = F F^T / (C H W) of relu1_2, 2_2, 3_3, 4_3 and 5_3; squared differences are summed
    over entries and layers and averaged over the batch.

    Args:
        weights: torchvision's VGG-16 state dict, or None for torch's download folder.
        random: a trunk of random weights, which must be asked for.

    Raises:
        FileNotFoundError, ImportError, ValueError: see `load_lpips`.
    """

    def __init__(self, weights: str | Path | None = None, random: bool = False):
        super().__init__()
        self.lpips = random_lpips() if random else load_lpips(weights)

    def train(self, mode: bool = True) -> "VggLosses":
        """Stays in evaluation mode: the linear layers of LPIPS have dropout."""
        return super().train(False)

    def forward(self, reconstruction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives LPIPS and Gram loss, scalars, of (B, 3, H, W) in [-1, 1] each, at any size."""
        with torch.autocast(reconstruction.device.type, enabled=False):
            with torch.no_grad():
                target_features = self._features(target)
            features = self._features(reconstruction)
            gram = sum(
                (gram_matrix(one) - gram_matrix(other)).square().sum((1, 2)).mean()
                for one, other in zip(features, target_features, strict=True)
            )
            layers = zip(features, target_features, self.lpips.lins, strict=True)
            lpips = sum(layer((_unit(one) - _unit(other)).square()).mean() for one, other, layer in layers)
        return lpips, gram

    def _features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.lpips.net(self.lpips.scaling_layer(perceptual_size(images))))


def _unit(features: torch.Tensor, epsilon: float = 1e-10) -> torch.Tensor:
    """Scales (B, C, H, W) to length 1 along channels; the constant is that of LPIPS."""
    return features / (features.square().sum(1, keepdim=True) + epsilon).sqrt()


class ClipLoss(nn.Module):
    """
    Computes 1 - cosine of a frozen CLIP image tower's embeddings of reconstruction and target.

    Args:
        tower: a `CLIPVisionModelWithProjection`.
        mean, std: its processor's normalization of RGB in [0, 1].
    """

    def __init__(self, tower: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.tower = tower.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "ClipLoss":
        """Stays in evaluation mode: the tower is frozen."""
        return super().train(False)

    def forward(self, reconstruction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Gives a scalar of (B, 3, H, W) in [-1, 1] each."""
        with torch.autocast(reconstruction.device.type, enabled=False):
            with torch.no_grad():
                target_embeds = self._embed(target)
            return 1 - F.cosine_similarity(self._embed(reconstruction), target_embeds, dim=-1).mean()

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        size = self.tower.config.image_size
        images = perceptual_size(images)
        if size != PERCEPTUAL_SIDE:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        images = ((images + 1) / 2 - self.mean) / self.std
        return self.tower(images.to(self.tower.dtype)).image_embeds.float()


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
