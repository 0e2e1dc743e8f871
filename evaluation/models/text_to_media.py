"""Images and videos of captions for the harness: of a pipeline that makes them now, and of files that are there."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..captions import media_names
from ..fingerprints import listing_fingerprint, network_fingerprint, settings_fingerprint
from ..interface import CaptionGenerator, EvaluationSet
from ..sample_files import FoundFiles, read_reconstruction

_OTHER_PARTS = ("vae", "text_encoder", "text_encoder_2")  # than the transformer


class TextToMediaSamples(CaptionGenerator):
    """
    Makes images and videos with a `TextToMediaPipeline`; item i depends on the seed, its caption and i alone.

    Args:
        model: a folder, an embedded generator's name, or a Hub name.
        frames: of videos.
        seed: at least 0.
        settings: of sampling, by the names of `MediaSampling`, such as {num_inference_steps: 50, guidance_scale: 9.0};
            the others are the pipeline's own.
        device: "cpu", "cuda" or "auto".
        dtype: of the weights and the computation.
        batch_size: items at a time; they do not depend on it.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: an argument does not fit.
    """

    def __init__(
        self,
        model: str,
        frames: int = 16,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 8,
    ):
        # This imports diffusers, which other evaluations do without.
        from .media_generator_loading import load_media_generator

        for name, value, least in (("frames", frames, 2), ("seed", seed, 0), ("batch_size", batch_size, 1)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        self.loaded = load_media_generator(model, device, dtype)
        self.name, self.frames, self.seed, self.dtype, self.batch_size = model, frames, seed, dtype, batch_size
        self.settings = dict(settings or {})

    def check(self, samples: EvaluationSet) -> None:
        captions = [sample.captions[0] for sample in samples.samples]
        pipeline = self.loaded.pipeline
        pipeline.check_inputs(captions, self._frames(samples.kind), self.settings)
        if pipeline.tokenizer is not None:
            captions = [max(captions, key=lambda caption: len(pipeline.tokenizer(caption)["input_ids"]))]
        # Rather now than after hours: a caption that is too long, or a pipeline without its text encoder.
        with torch.no_grad():
            pipeline.encode_prompt(captions[:1])

    def make(self, samples: EvaluationSet, indices: Sequence[int]) -> Iterator[torch.Tensor]:
        from ..seeded_images import image_generator

        for start in range(0, len(indices), self.batch_size):
            batch = indices[start : start + self.batch_size]
            made = self.loaded.pipeline(
                [samples.samples[index].captions[0] for index in batch],
                self._frames(samples.kind),
                generator=[image_generator(self.seed, index) for index in batch],
                output_type="pt",
                **self.settings,
            )
            pixels = made.images[:, None] if samples.kind == "image" else made.frames  # (B, T, 3, H, W)
            if not pixels.isfinite().all():
                raise ValueError(
                    "media must be finite, got NaN or infinite values of the pipeline; take float32, or other weights"
                )
            yield from (pixels * 255).round().to(torch.uint8).cpu()

    def _frames(self, kind: str) -> int:
        return 1 if kind == "image" else self.frames

    def describe(self) -> dict[str, Any]:
        config = self.loaded.pipeline.config
        return {
            "class": type(self).__name__,
            "model": self.loaded.name,
            "fingerprint": self.loaded.fingerprint,
            "frames": self.frames,
            "seed": self.seed,
            "settings": self.settings,
            "own_settings": {kind: dict(config[f"{kind}_sampling"] or {}) for kind in ("image", "video")},
            "dtype": self.dtype,
        }

    def fingerprints(self) -> dict[str, str]:
        # That of the transformer's weights is among the facts.
        parts = {name: getattr(self.loaded.pipeline, name) for name in _OTHER_PARTS}
        found = {name: network_fingerprint(part) for name, part in parts.items() if part is not None}
        return {**found, "scheduler": settings_fingerprint(self.loaded.pipeline.scheduler)}


class StoredMedia(CaptionGenerator):
    """
    Takes images and videos that are there, by the names of samples: NAME.png, NAME.mp4, NAME.npy, or folders of frames.

    Args:
        path: the folder; of one set, whose captions and names `results.json` and its `made` folder have.
        describe: JSON-ready facts that go beside the numbers: whose model, which weights, settings and seed.
        kinds: what the folder has, "image" or "video".

    Raises:
        FileNotFoundError: there is no such folder, or one of its samples is missing.
        ValueError: an option out of its range.
    """

    def __init__(self, path: str, describe: dict[str, Any] | None = None, kinds: Sequence[str] = ("image",)):
        if not kinds or set(kinds) - CaptionGenerator.kinds:
            raise ValueError(f"kinds must be some of image, video, got {', '.join(kinds) or 'none'}")
        self.name, self.kinds, self.facts = path, frozenset(kinds), dict(describe or {})
        self.files = FoundFiles(Path(path), content=("a file", "media"))

    def check(self, samples: EvaluationSet) -> None:
        self.files.check(media_names(samples))

    def make(self, samples: EvaluationSet, indices: Sequence[int]) -> Iterator[torch.Tensor]:
        names = media_names(samples)
        for index in indices:
            media = read_reconstruction(self.files[names[index]])
            if samples.kind == "image" and len(media) != 1:
                raise ValueError(f"images must have one frame, got {len(media)} in {self.files[names[index]]}")
            yield media

    def describe(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "path": self.name, "described": self.facts}

    def fingerprints(self) -> dict[str, str]:
        return {"files": listing_fingerprint(self.files.root, self.files.paths())}
