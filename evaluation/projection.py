"""The neighborhood of samples of the same class: t-SNE (paper, Figure 8), and neighbors in the space itself."""

import io
from typing import Any

import torch
from torch.nn import functional as F

from .chunks import Chunks
from .interface import EvaluationSet
from .results import Result

NEIGHBORS, PERPLEXITY, SEED = 5, 30, 0


def neighbor_accuracy(embeddings: torch.Tensor, labels: torch.Tensor, neighbors: int = NEIGHBORS) -> float:
    """
    Computes the share of samples whose class most of their nearest neighbors (by cosine, without themselves) have.

    Args:
        embeddings: (N, d).
        labels: (N,) class indices. Among classes that equally many neighbors have, the lowest index is taken.
    """
    unit = F.normalize(embeddings.double(), dim=-1)
    scores = (unit @ unit.T).fill_diagonal_(-torch.inf)
    nearest = labels[scores.topk(min(neighbors, len(labels) - 1)).indices]  # (N, neighbors)
    votes = F.one_hot(nearest, int(labels.max()) + 1).sum(1)
    return float((votes.argmax(1) == labels).double().mean())


def tsne(embeddings: torch.Tensor) -> torch.Tensor:
    """Projects (N, d) to (N, 2) by scikit-learn's t-SNE with a fixed seed, started from PCA."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError('t-SNE needs scikit-learn: pip install "atoken[evaluation]"') from error
    perplexity = min(PERPLEXITY, (len(embeddings) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=SEED).fit_transform(embeddings.double().numpy())
    return torch.from_numpy(points)


def summarize_projection(chunks: Chunks, samples: EvaluationSet) -> dict[str, Any]:
    """Computes the accuracy of nearest neighbors beside chance, and the places of t-SNE with their classes."""
    embeddings = torch.cat([tensors["embeddings"] for _, tensors in chunks])
    labels = torch.tensor([sample.label for sample in samples.samples])
    return {
        "count": len(labels),
        "neighbor_accuracy": neighbor_accuracy(embeddings, labels),
        "chance": 1 / len(samples.class_names),
        "tsne": {"points": tsne(embeddings).tolist(), "labels": labels.tolist(), "classes": list(samples.class_names)},
    }


def scatter_plot(results: list[Result]) -> bytes:
    """Draws one panel of points, colored by class, for every result; PNG."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "atoken[evaluation]"') from error
    figure = Figure(figsize=(4 * len(results), 4), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        projection = result.numbers["tsne"]
        x, y = zip(*projection["points"], strict=True)
        axes.scatter(x, y, c=projection["labels"], cmap="tab20", s=12)
        axes.set_title(result.model, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()
