"""Zero-shot accuracy and retrieval of a set (Tables 5 and 7)."""

from typing import Any

import torch

from .chunks import Chunks
from .interface import Embedder, EvaluationSet
from .metrics.understanding import ZeroShotAccuracy, class_embeddings, embed_all, retrieval


def embed_chunk(
    embedder: Embedder, samples: EvaluationSet, indices: range
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Embeds samples: their names, and embeddings (B, d)."""
    chosen = [samples.samples[index] for index in indices]
    embeddings = embedder.embed([sample.load() for sample in chosen])
    return [{"name": sample.name} for sample in chosen], {"embeddings": embeddings.float().cpu()}


def summarize_classification(chunks: Chunks, embedder: Embedder, samples: EvaluationSet) -> dict[str, Any]:
    """Computes top-1 and top-5 accuracy, and chance."""
    classes = class_embeddings(embedder.embed_texts, samples.class_names, samples.templates, embedder.canonical_prompts)
    accuracy, start = ZeroShotAccuracy(), 0
    for records, tensors in chunks:
        labels = torch.tensor([samples.samples[start + i].label for i in range(len(records))])
        embeddings = torch.nn.functional.normalize(tensors["embeddings"].double(), dim=-1)
        accuracy.update(embeddings @ classes.T, labels)
        start += len(records)
    return {"count": start, **accuracy.compute(), "chance": 1 / len(samples.class_names)}


def summarize_retrieval(chunks: Chunks, embedder: Embedder, samples: EvaluationSet) -> dict[str, Any]:
    """Computes recall at 1, 5 and 10 in both directions, and chance."""
    embeddings = torch.cat([tensors["embeddings"] for _, tensors in chunks])
    captions = [(text, owner) for owner, sample in enumerate(samples.samples) for text in sample.captions]
    texts = embed_all(embedder.embed_texts, [text for text, _ in captions])
    owner = torch.tensor([owner for _, owner in captions])
    count = len(samples.samples)
    return {"count": count, **retrieval(embeddings, texts, owner), "chance_at_1": 1 / count}
