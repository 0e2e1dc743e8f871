"""The metrics as modules of Hugging Face's `evaluate`: `add_batch`, `compute`, several processes, by one name each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from .distributions import FeatureStatistics, frechet_distance
from .reconstruction import CodebookUse, Psnr, Ssim
from .understanding import ZeroShotAccuracy

try:
    import datasets
    import evaluate
except ImportError as error:
    raise ImportError('evaluate modules need evaluate and datasets: pip install "atoken[evaluation]"') from error

_CITATION = "AToken: A Unified Tokenizer for Vision"
_VALUES = datasets.Sequence(datasets.Value("float64"))


class _Pictures(evaluate.Metric):
    """Compares reconstructions with originals, (T, 3, size, size) uint8 each; an image has one frame."""

    def __init__(self, *args: Any, size: int = 256, **kwargs: Any):
        self.size = size
        super().__init__(*args, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        pictures = datasets.Array4D(shape=(None, 3, self.size, self.size), dtype="uint8")
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation=_CITATION,
            inputs_description=_Pictures.__doc__,
            features=datasets.Features({"predictions": pictures, "references": pictures}),
        )

    def _measure(self, metric: Metric, predictions: Any, references: Any) -> Metric:
        for prediction, reference in zip(predictions, references, strict=True):
            pair = (torch.from_numpy(np.asarray(picture, dtype=np.uint8)) for picture in (prediction, reference))
            metric.update(*([one] for one in pair))
        return metric


class PsnrModule(_Pictures):
    """Computes the mean PSNR in decibels, and how many samples came back exactly and are left out of it."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        metric = self._measure(Psnr(), predictions, references)
        return {"psnr": float(metric.compute()), "exact": int(metric.exact)}


class SsimModule(_Pictures):
    """Computes the mean SSIM."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"ssim": float(self._measure(Ssim(), predictions, references).compute())}


class _Vectors(evaluate.Metric):
    """Takes one vector for every sample."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation=_CITATION,
            inputs_description="see the class",
            features=datasets.Features(self._features()),
        )

    def _features(self) -> dict[str, Any]:
        return {"predictions": _VALUES, "references": _VALUES}


class FrechetModule(_Vectors):
    """Computes the Fréchet distance of predicted and reference features, split into mean and covariance."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        gaussians = []
        for rows in (predictions, references):
            features = torch.from_numpy(np.stack(rows))
            statistics = FeatureStatistics(features.shape[1])
            statistics.update(features)
            gaussians.append(statistics.compute())
        distance = frechet_distance(*gaussians)
        return {"frechet": distance.total, "mean": distance.mean, "covariance": distance.covariance}


class ZeroShotModule(_Vectors):
    """Computes top-1 and top-5 accuracy of similarities to all classes (predictions) for class indices (references)."""

    def _features(self) -> dict[str, Any]:
        return {"predictions": _VALUES, "references": datasets.Value("int64")}

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        metric = ZeroShotAccuracy()
        metric.update(torch.from_numpy(np.stack(predictions)), torch.as_tensor(np.asarray(references)))
        return metric.compute()


class CodebookUseModule(_Vectors):
    """Computes how much of one codebook of `size` entries is used, and its perplexity; a prediction holds codes."""

    def __init__(self, *args: Any, size: int, **kwargs: Any):
        self.size = size
        super().__init__(*args, **kwargs)

    def _features(self) -> dict[str, Any]:
        return {"predictions": datasets.Sequence(datasets.Value("int64"))}

    def _compute(self, predictions: Any) -> dict[str, float]:
        metric = CodebookUse((self.size,))
        for codes in predictions:
            metric.update(torch.from_numpy(np.asarray(codes))[:, None])
        return metric.compute()


MODULES: dict[str, Callable[..., evaluate.Metric]] = {
    "psnr": PsnrModule,
    "ssim": SsimModule,
    "frechet": FrechetModule,
    "zero_shot": ZeroShotModule,
    "codebook_use": CodebookUseModule,
}


def load_module(name: str, **options: Any) -> evaluate.Metric:
    """
    Makes a module by its name; options are those of its class and of `evaluate.load`, such as `num_process`.

    Raises:
        ValueError: no such module.
    """
    if name not in MODULES:
        raise ValueError(f"name must be one of {', '.join(MODULES)}, got {name!r}")
    return MODULES[name](**options)
