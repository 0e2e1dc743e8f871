"""gFID, sFID, IS, precision and recall of generated images, as ADM's evaluator has them (Dhariwal and Nichol, 2021).

Numbers of papers on class-conditional ImageNet are of this definition. Samples and references are files of arrays:
`arr_0` (N, H, W, 3) uint8, and in a reference `mu`, `sigma`, `mu_s`, `sigma_s` of the whole training set, whose images
are only some of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .distributions import FeatureStatistics, Gaussian, frechet_distance, precision_recall
from .feature_networks import InceptionFeatures

SPATIAL_CHANNELS = 7  # of the first branch of the seventh mixed layer, 17 x 17 places
SPATIAL_WIDTH = 17 * 17 * SPATIAL_CHANNELS
SPLIT = 5000  # samples of a split of the inception score, in the given order
BATCH = 64


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
    pooled, spatial = FeatureStatistics(2048), FeatureStatistics(SPATIAL_WIDTH)
    all_features, all_logits = [], []
    for batch in batches:
        features, places, logits = network(batch)
        pooled.update(features.cpu())
        spatial.update(places.cpu())
        all_features.append(features.cpu())
        all_logits.append(logits.cpu())
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
    images, arrays = _open(path)
    features = adm_features(network, _batches(images))
    features.logits = None
    names = ("mu", "sigma", "mu_s", "sigma_s")
    if any(name in arrays for name in names):
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ValueError(f"reference must have {', '.join(names)} or none of them, got {path} without {missing[0]}")
        mean, covariance, spatial_mean, spatial_covariance = (torch.from_numpy(arrays[name]).double() for name in names)
        # How many images they are of, the file does not say, and no measure asks.
        features.pooled = Gaussian(mean, covariance, features.pooled.count)
        features.spatial = Gaussian(spatial_mean, spatial_covariance, features.spatial.count)
    return features


def read_samples(path: str | Path) -> Iterator[torch.Tensor]:
    """
    Reads samples of a file as ADM writes them, in batches (B, 3, H, W) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no images.
    """
    images, _ = _open(path)
    return _batches(images)


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


def write_samples(path: str | Path, images: np.ndarray) -> None:
    """
    Writes samples as ADM's evaluator reads them.

    Args:
        path: ends in `.npz`.
        images: (N, H, W, 3) uint8.
    """
    np.savez(path, arr_0=images)


def _open(path: str | Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError) as error:
        raise ValueError(f"path must be an .npz file of arrays, got {path}: {error}") from error
    images = arrays.pop("arr_0", None)
    if images is None or images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        given = "none" if images is None else f"{images.shape} {images.dtype}"
        raise ValueError(f"path must have images arr_0 (N, H, W, 3) uint8, got {given} in {path}")
    return images, arrays


def _batches(images: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2)
