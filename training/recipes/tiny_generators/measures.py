"""How good samples are: right colors and shapes, distance to true scenes, and whether they are copies."""

from collections.abc import Callable

import numpy as np
import torch

from atoken.evaluation.interface import Embedder
from atoken.evaluation.metrics.distributions import FeatureStatistics, Gaussian, frechet_distance
from atoken.evaluation.metrics.scene_judge import WIDTH, SceneJudge
from atoken.evaluation.metrics.scene_words import ZeroShotWords
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES

from .scenes import label_of

CHANCE = {"color": 1 / len(COLOURS), "shape": 1 / len(FLAT_SHAPES), "pair": 1 / (len(COLOURS) * len(FLAT_SHAPES))}
_BLOCK = 256  # pictures whose distances are computed at a time


def shares(color: torch.Tensor, shape: torch.Tensor) -> dict[str, float]:
    """Gives the shares of pictures with the right color, shape, and both; (N,) each, whose classes take turns."""
    labels = torch.tensor([label_of(index) for index in range(len(color))])
    right_color, right_shape = color == labels // len(FLAT_SHAPES), shape == labels % len(FLAT_SHAPES)
    found = {"color": right_color, "shape": right_shape, "pair": right_color & right_shape}
    return {name: float(right.double().mean()) for name, right in found.items()}


def gaussian_of(features: torch.Tensor) -> Gaussian:
    """Gives mean and covariance of features (N, 128)."""
    statistics = FeatureStatistics(WIDTH)
    statistics.update(features)
    return statistics.compute()


def judged_measures(judge: SceneJudge, pictures: np.ndarray, reference: Gaussian) -> dict[str, float]:
    """
    Measures pictures (N, 3, 64, 64) uint8, whose classes take turns, by the judge.

    Returns:
        "color", "shape", "pair": shares that are right. "fid": the Fréchet distance of the judge's features to
        `reference`.
    """
    features, color, shape = judge.judged(pictures)
    return {**shares(color, shape), "fid": frechet_distance(gaussian_of(features), reference).total}


def zero_shot_measures(embedder: Embedder, pictures: np.ndarray) -> dict[str, float]:
    """Gives the shares of pictures, whose classes take turns, of whose color and shape the nearest prompt is right."""
    told = ZeroShotWords(embedder).told([torch.from_numpy(picture)[None] for picture in pictures], "image")
    return shares(told["color"], told["shape"])


def nearest(pictures: np.ndarray, count: int, read: Callable[[range], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """
    Finds each picture's nearest of others by the root mean square of differences of pixels.

    Args:
        pictures: (N, 3, 64, 64) uint8.
        count: how many others there are.
        read: gives some of them by their numbers, (n, 3, 64, 64) uint8.

    Returns:
        Distances in gray levels and numbers, (N,) each.
    """
    own = torch.from_numpy(pictures).flatten(1).float()
    best, index = torch.full((len(own),), torch.inf), torch.zeros(len(own), dtype=torch.int64)
    for start in range(0, count, _BLOCK):
        others = torch.from_numpy(read(range(start, min(start + _BLOCK, count)))).flatten(1).float()
        distances, found = torch.cdist(own, others).min(1)
        index = torch.where(distances < best, found + start, index)
        best = torch.minimum(best, distances)
    return (best / own.shape[1] ** 0.5).numpy(), index.numpy()
