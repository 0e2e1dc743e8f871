"""gFID, sFID, IS, precision and recall of generated images, as ADM's evaluator has them (Dhariwal and Nichol, 2021).

Numbers of papers on class-conditional ImageNet are of this definition. Samples and references are files of arrays:
`arr_0` (N, H, W, 3) uint8, and in a reference `mu`, `sigma`, `mu_s`, `sigma_s` of the whole training set, whose images
are only some of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..array_files import ArrayFile
from .distributions import FeatureStatistics, Gaussian, frechet_distance, precision_recall
from .feature_networks import InceptionFeatures

WIDTH = 2048  # of the features
SPATIAL_CHANNELS = 7  # of the first branch of the seventh mixed layer, 17 x 17 places
SPATIAL_WIDTH = 17 * 17 * SPATIAL_CHANNELS
SPLIT = 5000  # samples of a split of the inception score, in the given order
BATCH = 64
MOMENTS = ("mu", "sigma", "mu_s", "sigma_s")


@dataclass
class AdmFeatures:
    """
    Holds what images are compared by.

    Attributes:
        pooled: Gaussian of the features (2048,), for FID.
        spatial: of the spatial features (2023,), for sFID.
        features (N, 2048): fp32 of each image, for precision and recall; may be of fewer images than the Gaussians.
        logits (N, 1008): fp32, for the inception score; None of a reference.
    """

    pooled: Gaussian
    spatial: Gaussian
    features: torch.Tensor
    logits: torch.Tensor | None = None


class AdmNetwork(InceptionFeatures):
    """Runs the network of FID, and takes its spatial features, too. Arguments and errors as of `InceptionFeatures`."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gives features (N, 2048), spatial features (N, 2023) and logits (N, 1008) of (N, 3, H, W) uint8."""
        found = []
        branch = self.network.Mixed_6d.branch1x1
        hook = branch.register_forward_hook(lambda module, inputs, output: found.append(output))
        try:
            features, logits = super().forward(images)
        finally:
            hook.remove()
        # Rows, columns, channels, as in the reference's mean and covariance.
        spatial = found[0][:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        return features, spatial, logits


@torch.inference_mode()
def adm_features(network: AdmNetwork, batches: Iterable[torch.Tensor]) -> AdmFeatures:
    """
    Computes the features of images.

    Args:
        network: of `AdmNetwork`.
        batches: (B, 3, H, W) uint8 each, in the order of the samples.

    Raises:
        ValueError: there are fewer than two images.
    """
    return gathered(tuple(part.cpu() for part in network(batch)) for batch in batches)


def gathered(batches: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> AdmFeatures:
    """
    Gathers what the network has given for batches of images, in the order of the samples.

    Raises:
        ValueError: there are fewer than two images, or features are not finite.
    """
    pooled, spatial = FeatureStatistics(WIDTH), FeatureStatistics(SPATIAL_WIDTH)
    all_features, all_logits = [], []
    for features, places, logits in batches:
        pooled.update(features)
        spatial.update(places)
        all_features.append(features)
        all_logits.append(logits)
    gaussians = pooled.compute(), spatial.compute()
    return AdmFeatures(*gaussians, torch.cat(all_features), torch.cat(all_logits))


def read_reference(path: str | Path, network: AdmNetwork) -> AdmFeatures:
    """
    Reads a reference of ADM, such as `VIRTUAL_imagenet256_labeled.npz`.

    Without `mu`, `sigma`, `mu_s` and `sigma_s`, they are those of the file's images.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it lacks an array.
    """
    file = ArrayFile(path)
    moments = read_moments(file)
    features = adm_features(network, _batches(file))
    features.logits = None
    if moments is not None:
        features.pooled, features.spatial = moments
    return features


def read_moments(file: ArrayFile) -> tuple[Gaussian, Gaussian] | None:
    """
    Reads mean and covariance of features and spatial features of a reference; None if it has neither.

    How many images they are of, the file does not say, and no measure asks: the count is that of its own images.

    Raises:
        ValueError: it has some of the four arrays, or they have other sizes.
    """
    missing = [name for name in MOMENTS if name not in file.names]
    if len(missing) == len(MOMENTS):
        return None
    if missing:
        raise ValueError(
            f"reference must have {', '.join(MOMENTS)} or none of them, got {file.path} without {missing[0]}"
        )
    arrays = [torch.from_numpy(file.array(name)).double() for name in MOMENTS]
    for array, name, width in zip(arrays, MOMENTS, (WIDTH, WIDTH, SPATIAL_WIDTH, SPATIAL_WIDTH), strict=True):
        expected = (width,) if name in ("mu", "mu_s") else (width, width)
        if tuple(array.shape) != expected:
            raise ValueError(f"{name} of a reference must be {expected}, got {tuple(array.shape)} in {file.path}")
    return Gaussian(*arrays[:2], len(file)), Gaussian(*arrays[2:], len(file))


def read_samples(path: str | Path) -> Iterator[torch.Tensor]:
    """
    Reads samples of a file as ADM writes them, in batches (B, 3, H, W) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no images.
    """
    return _batches(ArrayFile(path))


def adm_metrics(samples: AdmFeatures, reference: AdmFeatures) -> dict[str, float]:
    """
    Compares samples with a reference.

    Returns:
        "fid", "sfid", "inception_score", "precision" and "recall".

    Raises:
        ValueError: there are too few images.
    """
    assert samples.logits is not None
    found = precision_recall(samples.features, reference.features, neighbors=3)
    return {
        "fid": frechet_distance(samples.pooled, reference.pooled).total,
        "sfid": frechet_distance(samples.spatial, reference.spatial).total,
        "inception_score": inception_score_in_order(samples.logits),
        **found,
    }


def inception_score_in_order(logits: torch.Tensor, split: int = SPLIT) -> float:
    """
    Computes the mean over splits of exp E KL(p(y|x) || p(y)), with splits in the given order.

    Args:
        logits: (N, classes).
        split: samples of a split; what is left over makes a smaller one.
    """
    scores = []
    for part in logits.double().split(split):
        logarithms = part.log_softmax(dim=1)
        chances = logarithms.exp()
        divergence = (chances * (logarithms - chances.mean(0).log())).sum(1)
        scores.append(divergence.mean().exp())
    return float(torch.stack(scores).mean())


def _batches(file: ArrayFile) -> Iterator[torch.Tensor]:
    for start in range(0, len(file), BATCH):
        yield torch.from_numpy(file.rows(start, min(start + BATCH, len(file)))).permute(0, 3, 1, 2)
