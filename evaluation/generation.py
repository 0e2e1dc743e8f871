"""Generated images against those of a set, by ADM's measures (paper, section 5)."""

from typing import Any

import torch

from .chunks import Chunks, Results
from .interface import EvaluationSet
from .metrics.adm import BATCH, AdmNetwork, adm_metrics, gathered

ADM_MEASURES = ("gfid", "sfid", "inception-score", "precision", "recall")
FEWEST_IMAGES = 4  # one more than the neighbors of precision and recall
_PARTS = ("features", "spatial", "logits")


def set_images(samples: EvaluationSet, indices: range) -> torch.Tensor:
    """
    Loads images of a set: (B, 3, H, W) uint8.

    Raises:
        ValueError: they have different sizes.
    """
    return same_size({samples.samples[index].name: samples.samples[index].load()[0] for index in indices})


def same_size(images: dict[str, torch.Tensor]) -> torch.Tensor:
    """
    Puts images (3, H, W) into one batch.

    Args:
        images: by their names.

    Raises:
        ValueError: they have different sizes.
    """
    first_name, first = next(iter(images.items()))
    for name, image in images.items():
        if image.shape != first.shape:
            sizes = " and ".join(f"{each.shape[2]} x {each.shape[1]}" for each in (first, image))
            raise ValueError(f"images must be of one size, got {sizes} in {first_name} and {name}; resize them first")
    return torch.stack(list(images.values()))


def measure_images(images: torch.Tensor, indices: range, network: AdmNetwork, device: str) -> Results:
    """Computes what images (B, 3, H, W) uint8 are compared by: a record and a row of each tensor for each."""
    found = [[part.cpu() for part in network(batch.to(device))] for batch in images.split(BATCH)]
    tensors = {name: torch.cat([parts[place] for parts in found]) for place, name in enumerate(_PARTS)}
    return [{"name": f"{index:06d}"} for index in indices], tensors


def summarize_generation(chunks: Chunks, reference: Chunks, samples: EvaluationSet) -> dict[str, Any]:
    """
    Computes gFID, sFID, inception score, precision and recall.

    Args:
        chunks: of the generated images, in the order in which the inception score takes them.
        reference: of the set's own.
        samples: the set; its `moments` replace those of its images in both distances.
    """
    generated, real = (
        gathered(tuple(tensors[name] for name in _PARTS) for _, tensors in each) for each in (chunks, reference)
    )
    if samples.moments is not None:
        real.pooled, real.spatial = samples.moments()
    found = adm_metrics(generated, real)
    return {
        "gfid": found["fid"],
        "sfid": found["sfid"],
        "adm_inception_score": found["inception_score"],
        "adm_precision": found["precision"],
        "adm_recall": found["recall"],
        "reference_count": len(samples.samples),
        "count": chunks.samples,
    }
