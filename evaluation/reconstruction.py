"""Measures of one sample's round trip, and a whole set's numbers made of them (Tables 4, 6 and 8)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from atoken.tokenizing.objects import COMPARED_SIZE, compared_cameras, mesh_pictures
from atoken.tokenizing.quality import psnr, ssim

from .chunks import Chunks
from .fingerprints import network_fingerprint
from .interface import Encoded, EvaluationSet, MediaTokenizer, ObjectTokenizer, Reconstructions
from .metrics.adm import AdmNetwork
from .metrics.distributions import FeatureStatistics, frechet_distance, inception_score, precision_recall
from .metrics.efficientnet_lite import load_efficientnet_lite0
from .metrics.feature_networks import I3dFeatures, InceptionFeatures, Lpips, RandomGram
from .metrics.reconstruction import CodebookUse, bits_per_pixel, count_codes
from .metrics.st_lpips import StLpips

SPLITS, NEIGHBORS = 10, 3  # of inception score, and of precision and recall
LITE0 = "lite0_"  # before the names of EfficientNet-lite0's features


@dataclass
class Measures:
    """
    Holds the measures that were asked for, with their networks.

    Args:
        names: some of `MEASURES`.
        weights: files of networks by measure.
        device: where the networks run.
        generation: whether generated images are measured, too.

    Raises:
        FileNotFoundError: a network's weights are missing; nothing has been measured then.
    """

    names: tuple[str, ...]
    weights: dict[str, str]
    device: str = "cpu"
    generation: bool = False

    def __post_init__(self):
        self.lpips = Lpips(self.weights.get("lpips")).to(self.device) if "lpips" in self.names else None
        self.st_lpips = {
            trunk: StLpips(trunk, self.weights.get(f"st-lpips-{trunk}")).to(self.device)
            for trunk in ("vgg", "alex")
            if f"st-lpips-{trunk}" in self.names
        }
        self.lite0 = None
        if "fd-lite0" in self.names:
            self.lite0 = load_efficientnet_lite0(self.weights.get("fd-lite0")).to(self.device)
        self.random_gram = RandomGram().to(self.device) if "random-gram" in self.names else None
        inception = {"rfid", "inception-score", "precision-recall"} & set(self.names)
        self.inception = InceptionFeatures(self.weights.get("rfid")).to(self.device) if inception else None
        self.adm = AdmNetwork(self.weights.get("rfid")).to(self.device) if self.generation else None
        self.i3d = I3dFeatures(self.weights.get("rfvd")).to(self.device) if "rfvd" in self.names else None

    def fingerprints(self, generation: bool = False) -> dict[str, str]:
        """Gives digests of the weights of the networks that tokenizers, or generators, are measured by."""
        networks = {
            "lpips": self.lpips,
            **{f"st-lpips-{trunk}": network for trunk, network in self.st_lpips.items()},
            "fd-lite0": self.lite0,
            "random-gram": self.random_gram,
            "inception": self.inception,
            "i3d": self.i3d,
        }
        chosen = {"inception": self.adm} if generation else networks
        return {name: network_fingerprint(network) for name, network in chosen.items() if network is not None}

    def of_pair(
        self, original: torch.Tensor, result: torch.Tensor, kind: str
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """Gives numbers, and features (1, d) of both; (T, 3, H, W) uint8 each. Views of an object are averaged over."""
        numbers, features = {}, {}
        if "psnr" in self.names:
            numbers["psnr"] = _mean_over_views(psnr, result, original) if kind == "object" else psnr(result, original)
        if "ssim" in self.names:
            numbers["ssim"] = ssim(result, original)
        if self.lpips is not None:
            # One frame at a time: memory is then that of one.
            numbers["lpips"] = _mean_over_views(self.lpips, result.to(self.device), original.to(self.device))
        for trunk, network in self.st_lpips.items():
            distance = _mean_over_views(network, result.to(self.device), original.to(self.device))
            numbers[f"st_lpips_{trunk}"] = distance
        if self.random_gram is not None and kind == "image":
            numbers["random_gram"] = float(self.random_gram(result.to(self.device), original.to(self.device)))
        for name, media in (("original", original), ("reconstruction", result)):
            media = media.to(self.device)
            if kind == "image" and self.inception is not None:
                inception, logits = self.inception(media)
                features[name] = inception.cpu()
                if "inception-score" in self.names and name == "reconstruction":
                    features["logits"] = logits.cpu()
            if kind == "image" and self.lite0 is not None:
                features[f"{LITE0}{name}"] = self.lite0.pooled(media).cpu()
            if kind == "video" and self.i3d is not None:
                features[name] = self.i3d(media[None]).cpu()
        # JSON knows no infinity.
        return {name: value if math.isfinite(value) else None for name, value in numbers.items()}, features


def _mean_over_views(measure: Any, result: torch.Tensor, original: torch.Tensor) -> float:
    values = [float(measure(a[None], b[None])) for a, b in zip(result, original, strict=True)]
    return sum(values) / len(values)


@dataclass(frozen=True)
class RoundTrip:
    """
    Holds a sample beside what came back of it.

    Attributes:
        original: (T, 3, H, W) uint8; of objects the views.
        result: of the same shape, or None of a tokenizer that does not decode.
        bits: that were stored, or None where that is not known.
        latent_shape, codes: see `Encoded`; None of reconstructions that others made.
    """

    original: torch.Tensor
    result: torch.Tensor | None
    bits: int | None
    latent_shape: tuple[int, ...] | None = None
    codes: torch.Tensor | None = None


def round_trip(
    tokenizer: MediaTokenizer | ObjectTokenizer, sample: Any, kind: str, size: int = COMPARED_SIZE
) -> tuple[torch.Tensor, torch.Tensor, Encoded]:
    """
    Gives original and reconstruction, (T, 3, H, W) uint8 (for objects the views), and what was stored.

    Args:
        sample: (T, 3, H, W) uint8, or a mesh.
        kind: "image", "video" or "object".
        size: pixels of a side of an object's views.
    """
    if kind == "object":
        cameras = compared_cameras()
        encoded = tokenizer.encode(sample)
        return views_of(sample, size), tokenizer.render(encoded, cameras, size), encoded
    encoded = tokenizer.encode(sample)
    return sample, tokenizer.decode(encoded), encoded


def views_of(mesh: Any, size: int) -> torch.Tensor:
    """Renders the views in which an object is compared, (V, 3, size, size) uint8 on black."""
    return torch.from_numpy(mesh_pictures(mesh, compared_cameras(), size)).permute(0, 3, 1, 2)


def round_trips(
    tokenizer: MediaTokenizer | ObjectTokenizer | Reconstructions, samples: EvaluationSet, indices: Sequence[int]
) -> Iterator[RoundTrip]:
    """
    Yields the round trips of chosen samples in their order, one in memory at a time.

    Raises:
        ValueError: a reconstruction that others made has another size than its original.
    """
    if isinstance(tokenizer, Reconstructions):
        for index, result in zip(indices, tokenizer.reconstruct(samples, indices), strict=True):
            sample = samples.samples[index]
            original = sample.load()
            if samples.kind == "object":
                original = views_of(original, samples.view_size)
            if result.shape != original.shape:
                raise ValueError(
                    f"the reconstruction of {sample.name} must be {tuple(original.shape)} (frames, channels, rows, "
                    f"columns) as its original, got {tuple(result.shape)}; reconstruct what "
                    "`python -m atoken.evaluation.write_samples` writes"
                )
            yield RoundTrip(original, result, tokenizer.bits(original.shape))
        return
    for index in indices:
        sample = samples.samples[index].load()
        if tokenizer.decodes:
            original, result, encoded = round_trip(tokenizer, sample, samples.kind, samples.view_size)
        else:
            original, result, encoded = sample, None, tokenizer.encode(sample)
        yield RoundTrip(original, result, encoded.bits, encoded.latent_shape, encoded.codes)


def measure_chunk(
    tokenizer: MediaTokenizer | ObjectTokenizer | Reconstructions,
    samples: EvaluationSet,
    indices: range,
    measures: Measures,
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Measures samples: a record of each, and features and counts of codes with one row each."""
    records, rows = [], {}
    for index, trip in zip(indices, round_trips(tokenizer, samples, indices), strict=True):
        numbers, features = {}, {}
        if trip.result is not None:
            numbers, features = measures.of_pair(trip.original, trip.result, samples.kind)
        record = {"name": samples.samples[index].name, **numbers}
        if trip.bits is not None:
            record["bits"] = trip.bits
            if samples.kind != "object":
                record["bits_per_pixel"] = bits_per_pixel(trip.bits, tuple(trip.original.shape))
        if trip.latent_shape is not None:
            record["latent_shape"] = list(trip.latent_shape)
        records.append(record)
        if trip.codes is not None:
            features["codes"] = count_codes(trip.codes, tokenizer.codebook_sizes)[None]
        for name, value in features.items():
            rows.setdefault(name, []).append(value)
    return records, {name: torch.cat(values) for name, values in rows.items()}


def summarize(chunks: Chunks, codebook_sizes: tuple[int, ...] = (), measures: tuple[str, ...] = ()) -> dict[str, Any]:
    """
    Computes a set's numbers: means over samples, distances of distributions, codebook use.

    Args:
        chunks: all results.
        codebook_sizes: those of the tokenizer.
        measures: those that were asked for; "inception-score" and "precision-recall" hold all features in memory.

    Returns:
        "count"; the mean of each per-sample number; "exact", how many samples came back without any error and are left
        out of the mean of PSNR; "frechet" (rFID or rFVD) and "fd_lite0" with "total", "mean" and "covariance";
        "inception_score"; "precision_recall"; "codebook".
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    statistics: dict[str, FeatureStatistics] = {}
    kept: dict[str, list[torch.Tensor]] = {}
    codes: torch.Tensor | int = 0
    total = exact = 0
    for records, tensors in chunks:
        for record in records:
            total += 1
            exact += "psnr" in record and record["psnr"] is None
            for name, value in record.items():
                if isinstance(value, int | float):
                    sums[name], counts[name] = sums.get(name, 0.0) + value, counts.get(name, 0) + 1
        if "codes" in tensors:
            codes = codes + tensors.pop("codes").sum(0)
        for name, value in tensors.items():
            if name != "logits":
                statistics.setdefault(name, FeatureStatistics(value.shape[1])).update(value)
            if name == "logits" or ("precision-recall" in measures and not name.startswith(LITE0)):
                kept.setdefault(name, []).append(value)
    summary: dict[str, Any] = {name: sums[name] / counts[name] for name in sums}
    summary |= {"count": total, "exact": exact}
    asked = {"frechet": ("", {"rfid", "rfvd"}), "fd_lite0": (LITE0, {"fd-lite0"})}
    for number, (prefix, names) in asked.items():
        if names & set(measures) and f"{prefix}original" in statistics and total > 1:
            pair = (statistics[f"{prefix}{one}"].compute() for one in ("original", "reconstruction"))
            distance = frechet_distance(*pair)
            summary[number] = {"total": distance.total, "mean": distance.mean, "covariance": distance.covariance}
    features = {name: torch.cat(values) for name, values in kept.items()}
    if "logits" in features and total >= SPLITS:
        summary["inception_score"] = inception_score(features["logits"], SPLITS)
    if "precision-recall" in measures and "original" in features and total > NEIGHBORS:
        summary["precision_recall"] = precision_recall(features["reconstruction"], features["original"], NEIGHBORS)
    if torch.is_tensor(codes):
        summary["codebook"] = CodebookUse.from_counts(codes, codebook_sizes)
    return summary
