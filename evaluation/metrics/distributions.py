"""Distances between distributions of features: Fréchet with its split, inception score, precision and recall."""

from dataclasses import dataclass

import torch
from torchmetrics import Metric

_MISSING = 'inception score, precision and recall need torch-fidelity: pip install "atoken[evaluation]"'


@dataclass
class Gaussian:
    """Holds the mean (d,) and the unbiased (n - 1) covariance (d, d) of features, float64."""

    mean: torch.Tensor
    covariance: torch.Tensor
    count: int


class FeatureStatistics(Metric):
    """
    Gathers mean and covariance of features that arrive batch by batch, in memory that does not grow with their number.

    Args:
        width: d of features (B, d).
    """

    full_state_update = False

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros(width, width, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: torch.Tensor) -> None:
        """
        Adds features (B, width).

        Raises:
            ValueError: features are not (B, width), or not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.width:
            raise ValueError(f"features must be (B, {self.width}), got {tuple(features.shape)}")
        features = features.double()
        if not features.isfinite().all():
            raise ValueError("features must be finite, got NaN or infinite values")
        self.count += len(features)
        self.sums += features.sum(0)
        self.products += features.T @ features

    def compute(self) -> Gaussian:
        """
        Gives mean and covariance of all features so far.

        Raises:
            ValueError: fewer than two features.
        """
        count = int(self.count)
        if count < 2:
            raise ValueError(f"features must be at least 2 for a covariance, got {count}")
        mean = self.sums / count
        covariance = (self.products - count * torch.outer(mean, mean)) / (count - 1)
        return Gaussian(mean, covariance, count)


@dataclass(frozen=True)
class FrechetDistance:
    """Holds the two parts that a distance is the sum of (paper, Figure 4b)."""

    mean: float
    covariance: float

    @property
    def total(self) -> float:
        return self.mean + self.covariance


def frechet_distance(first: Gaussian, second: Gaussian) -> FrechetDistance:
    """
    Computes |mu1 - mu2|^2 and tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two Gaussians, in float64.

    The trace of (S1 S2)^(1/2) is the nuclear norm of S1^(1/2) S2^(1/2). Unlike eigenvalues of S1 S2, its terms are not
    roots of rounding errors when there are fewer samples than features.
    """
    roots = []
    for gaussian in (first, second):
        values, vectors = torch.linalg.eigh(gaussian.covariance)
        roots.append((vectors * values.clamp(min=0).sqrt()) @ vectors.T)
    overlap = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    covariance = first.covariance.trace() + second.covariance.trace() - 2 * overlap
    return FrechetDistance(float((first.mean - second.mean).square().sum()), float(covariance))


def inception_score(logits: torch.Tensor, splits: int = 10) -> dict[str, float]:
    """
    Computes exp E KL(p(y|x) || p(y)) of logits (N, classes): mean and deviation over splits (torch-fidelity's shuffle).

    Raises:
        ValueError: fewer samples than splits.
    """
    try:
        from torch_fidelity import metric_isc
    except ImportError as error:
        raise ImportError(_MISSING) from error
    if len(logits) < splits:
        raise ValueError(f"logits must be of at least {splits} samples for as many splits, got {len(logits)}")
    scores = metric_isc.isc_features_to_metric(logits, splits)
    return {"mean": scores[metric_isc.KEY_METRIC_ISC_MEAN], "std": scores[metric_isc.KEY_METRIC_ISC_STD]}


def precision_recall(generated: torch.Tensor, real: torch.Tensor, neighbors: int = 3) -> dict[str, float]:
    """
    Computes the share of generated features (N, d) within the real ones' nearest-neighbor balls, and the reverse.

    All features are needed at once, but their distances are computed in parts.

    Raises:
        ValueError: fewer than neighbors + 1 features of either.
    """
    try:
        from torch_fidelity import metric_prc
    except ImportError as error:
        raise ImportError(_MISSING) from error
    if min(len(generated), len(real)) <= neighbors:
        raise ValueError(
            f"generated and real must be at least {neighbors + 1} samples each for {neighbors} neighbors, "
            f"got {len(generated)} and {len(real)}"
        )
    found = metric_prc.prc_features_to_metric(
        generated.double(), real.double(), prc_neighborhood=neighbors, prc_batch_size=2048, save_cpu_ram=True
    )
    return {name: found[name] for name in (metric_prc.KEY_METRIC_PRECISION, metric_prc.KEY_METRIC_RECALL)}
