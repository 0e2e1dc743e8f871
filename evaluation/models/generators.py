"""Generated images for the harness: of a pipeline that makes them now, and of files that something has made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from atoken.tokenizing.images import read_image

from ..array_files import ArrayFile
from ..fingerprints import listing_fingerprint, settings_fingerprint
from ..generation import same_size
from ..interface import Generator
from ..sets.file_lists import checksum, find_media, take


class PipelineSamples(Generator):
    """
    Generates images with a pipeline of `atoken.generation`; image i depends on the seed and i alone.

    Args:
        model: a folder, an embedded generator's name, or a Hub name.
        count: how many images; papers take 50,000.
        classes: numbers or names that take turns; all classes when there are none.
        seed: at least 0.
        settings: arguments of the pipeline, such as {num_inference_steps: 249, guidance_scale: 1.65}; the others are
            those that the model's record advises, or the pipeline's defaults.
        device: "cpu", "cuda" or "auto".
        dtype: of the weights and the computation.
        batch_size: images at a time; they do not depend on it.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: an argument does not fit.
    """

    def __init__(
        self,
        model: str,
        count: int = 50_000,
        classes: Sequence[int | str] = (),
        seed: int = 0,
        settings: dict[str, Any] | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 16,
    ):
        # These import diffusers, which other evaluations do without.
        from ..seeded_images import SeededImages
        from .generator_loading import load_generator

        for name, value in {"count": count, "batch_size": batch_size}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        self.loaded = load_generator(model, device, dtype)
        chosen = {**self.loaded.sampling, **(settings or {})}
        self.seeded = SeededImages(self.loaded.pipeline, list(classes), seed, chosen)
        self.name, self.count, self.dtype, self.batch_size = model, count, dtype, batch_size

    def images(self, indices: range) -> torch.Tensor:
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        return torch.cat([self.seeded.images(batch) for batch in batches])

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "model": self.loaded.name,
            "fingerprint": self.loaded.fingerprint,
            "classes": self.seeded.classes,
            "seed": self.seeded.seed,
            "settings": self.seeded.settings,
            "dtype": self.dtype,
        }

    def fingerprints(self) -> dict[str, str]:
        # That of weights is among the facts.
        scheduler = getattr(self.loaded.pipeline, "scheduler", None)
        return {} if scheduler is None else {"scheduler": settings_fingerprint(scheduler)}


class StoredSamples(Generator):
    """
    Takes images that are there: a folder of pictures in the order of their names, or ADM's `.npz`.

    Args:
        path: of the folder or the file; `atoken generate` writes both.
        limit: takes so many from the first on.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is no such file.
    """

    def __init__(self, path: str, limit: int | None = None):
        self.name, place = path, Path(path)
        self.file, self.names, self.root = None, [], place
        if place.suffix == ".npz":
            self.file = ArrayFile(place)
            self.count = len(take([str(index) for index in range(len(self.file))], None, limit, "samples"))
            self.checksum = checksum(place.parent, [place.name])
        else:
            self.names = take(find_media(place, "image", "samples"), None, limit, "samples")
            self.count = len(self.names)
            self.checksum = checksum(place, self.names)

    def images(self, indices: range) -> torch.Tensor:
        if self.file is not None:
            return torch.from_numpy(self.file.rows(indices.start, indices.stop)).permute(0, 3, 1, 2)
        return same_size({self.names[index]: read_image(self.root / self.names[index]) for index in indices})

    def describe(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "path": self.name, "checksum": self.checksum}

    def fingerprints(self) -> dict[str, str]:
        files = [self.root] if self.file is not None else [self.root / name for name in self.names]
        return {"files": listing_fingerprint(self.root.parent, files)}
