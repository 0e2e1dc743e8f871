"""Zero-shot classification and retrieval by cosine (Tables 5 and 7), with ties broken the same way everywhere."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F
from torchmetrics import Metric

from atoken.processing.text_processing_atoken import canonicalize_text

_OF = (
    "a bad photo of",
    "a low resolution photo of",
    "a rendering of",
    "graffiti of",
    "a cropped photo of",
    "a tattoo of",
    "a bright photo of",
    "a dark photo of",
    "a drawing of",
    "a close-up photo of",
    "a black and white photo of",
    "a painting of",
    "a pixelated photo of",
    "a sculpture of",
    "a jpeg corrupted photo of",
    "a blurry photo of",
    "a good photo of",
    "a rendition of",
    "a doodle of",
    "a sketch of",
    "itap of",
    "art of",
    "a photo of",
)
_LOOKS = ("hard to see", "clean", "dirty", "cool", "large", "nice", "weird", "small")
_MADE = ("embroidered", "plastic", "origami", "toy", "cartoon", "plushie")

# The 80 prompts of CLIP (Radford et al., 2021) for ImageNet; their order does not matter as embeddings are averaged.
CLIP_TEMPLATES = (
    *(f"{start} {article} {{}}." for start in _OF for article in ("a", "the")),
    *(f"a photo of {article} {look} {{}}." for look in _LOOKS for article in ("a", "the")),
    *(f"{article} {made} {{}}." for made in _MADE for article in ("a", "the")),
    *(f"{article} {{}} in a video game." for article in ("a", "the")),
    *("a photo of many {}.", "a photo of one {}.", "a photo of my {}.", "itap of my {}."),
)
IMAGENET_TEMPLATES = (*CLIP_TEMPLATES, "{}")

_BATCH = 64
_BLOCK = 1024


def _normalized(embeddings: torch.Tensor, name: str) -> torch.Tensor:
    embeddings = embeddings.double()
    if embeddings.ndim != 2 or not embeddings.isfinite().all():
        state = "of finite values" if embeddings.isfinite().all() else "with NaN or infinite values"
        raise ValueError(f"{name} must be finite vectors (B, d), got {tuple(embeddings.shape)} {state}")
    return F.normalize(embeddings, dim=-1)


def class_embeddings(
    embed_texts: Callable[[Sequence[str]], torch.Tensor],
    class_names: Sequence[str],
    templates: Sequence[str],
    canonical: bool = True,
) -> torch.Tensor:
    """
    Embeds every class as the mean of its prompts' unit vectors: (C, d) unit vectors.

    Args:
        embed_texts: texts -> (B, d).
        templates: prompts with one {}.
        canonical: whether prompts come canonicalized, as SigLIP's, or as they are written, as CLIP's.

    Raises:
        ValueError: no classes, no templates, or a template without {}.
    """
    if not class_names or not templates:
        given = f"{len(class_names)} and {len(templates)}"
        raise ValueError(f"class_names and templates must be at least one each, got {given}")
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"templates must have one {{}} each, got {template!r}")
    prompts = [template.format(name) for name in class_names for template in templates]
    prompts = [canonicalize_text(prompt) for prompt in prompts] if canonical else prompts
    embeddings = embed_all(embed_texts, prompts)
    per_class = _normalized(embeddings, "embed_texts").view(len(class_names), len(templates), -1)
    return F.normalize(per_class.mean(1), dim=-1)


def embed_all(embed_texts: Callable[[Sequence[str]], torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
    """Embeds M texts in batches: (M, d)."""
    return torch.cat([embed_texts(texts[start : start + _BATCH]).cpu() for start in range(0, len(texts), _BATCH)])


def _rank(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Counts in each row of scores (B, C) how many come before the target column (B,); among equals the first does."""
    own = scores.gather(1, target[:, None])
    before = torch.arange(scores.shape[1], device=scores.device) < target[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(1)


class ZeroShotAccuracy(Metric):
    """Computes top-1 and top-5 accuracy; `update(scores, labels)` takes similarities (B, C) and class indices (B,)."""

    full_state_update = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        for name in ("top1", "top5", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: torch.Tensor, labels: torch.Tensor) -> None:
        """
        Adds similarities (B, C) and class indices (B,).

        Raises:
            ValueError: shapes do not fit, labels out of range, or scores that are not finite.
        """
        if scores.ndim != 2 or labels.shape != scores.shape[:1]:
            raise ValueError(
                f"scores and labels must be (B, C) and (B,), got {tuple(scores.shape)} and {tuple(labels.shape)}"
            )
        if not scores.isfinite().all():
            raise ValueError("scores must be finite, got NaN or infinite values")
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < scores.shape[1]:
            given = f"{int(labels.min())} to {int(labels.max())}"
            raise ValueError(f"labels must be from 0 to {scores.shape[1] - 1}, got {given}")
        rank = _rank(scores, labels)
        self.top1 += (rank < 1).sum()
        self.top5 += (rank < 5).sum()
        self.count += len(labels)

    def compute(self) -> dict[str, float]:
        return {"top1": float(self.top1 / self.count), "top5": float(self.top5 / self.count)}


def retrieval(
    embeddings: torch.Tensor, text_embeddings: torch.Tensor, owner: torch.Tensor, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """
    Computes recall at k in both directions, by cosine in float64.

    Text to sample: the share of texts whose own sample is among the k nearest samples. Sample to text: the share of
    samples with any of their own texts among the k nearest texts.

    Args:
        embeddings: (N, d) vectors of samples.
        text_embeddings: (M, d) vectors of texts.
        owner: (M,) index of the sample that a text belongs to; every sample has at least one.

    Returns:
        "text_to_sample_r1", ..., "sample_to_text_r10"; for k beyond the number of candidates recall is 1.

    Raises:
        ValueError: shapes do not fit, or a sample has no text.
    """
    count, texts = len(embeddings), len(text_embeddings)
    if owner.shape != (texts,) or embeddings.shape[1:] != text_embeddings.shape[1:]:
        raise ValueError(
            "embeddings, text_embeddings and owner must be (N, d), (M, d) and (M,), got "
            f"{tuple(embeddings.shape)}, {tuple(text_embeddings.shape)} and {tuple(owner.shape)}"
        )
    if not torch.equal(owner.unique(), torch.arange(count)):
        given = f"{len(owner.unique())} different ones"
        raise ValueError(f"owner must name each of the {count} samples at least once and no other, got {given}")
    samples, sentences = _normalized(embeddings, "embeddings"), _normalized(text_embeddings, "text_embeddings")
    to_sample = [
        _rank(rows @ samples.T, owners)
        for rows, owners in zip(sentences.split(_BLOCK), owner.split(_BLOCK), strict=True)
    ]
    to_text = []
    for start in range(0, count, _BLOCK):
        scores = samples[start : start + _BLOCK] @ sentences.T
        own = owner == torch.arange(start, start + len(scores))[:, None]
        best = scores.masked_fill(~own, -torch.inf).argmax(1)
        to_text.append(_rank(scores, best))
    ranks = {"text_to_sample": torch.cat(to_sample), "sample_to_text": torch.cat(to_text)}
    return {f"{way}_r{k}": float((rank < k).double().mean()) for way, rank in ranks.items() for k in ks}
