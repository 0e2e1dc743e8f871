"""Media through a model and back: how close they come (PSNR and SSIM of 8-bit pixels), what they cost and how long."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch

from atoken.modeling_atoken import AtokenModel

from .latent_files import bits_per_token
from .quality import Quality


class Stopwatch:
    """Adds up the time that passes inside an iterator."""

    def __init__(self):
        self.seconds = 0.0

    def time(self, items: Iterable[Any]) -> Iterator[Any]:
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - start
            yield item


class Stream(Protocol):
    """An original: iterates over dense pieces (t, 3, H, W) in [-1, 1] for `encode_stream`, and counts what it gave."""

    kind: str
    fps: float | None
    media_size: tuple[int, int, int]
    tokens: int

    def __iter__(self) -> Iterator[torch.Tensor]: ...

    def to_pixels(self, frames: torch.Tensor) -> np.ndarray:
        """(t, 3, H, W) about [-1, 1] -> (t, height, width, 3) uint8 of the true size."""


class RoundTrip:
    """
    Iterates over (original, reconstruction), each (t, height, width, 3) uint8, as if stored in between.

    Attributes:
        stream: the original.
        quality: PSNR and SSIM so far.
    """

    def __init__(self, model: AtokenModel, stream: Stream, latent_dtype: torch.dtype):
        self.model, self.stream, self.latent_dtype = model, stream, latent_dtype
        self.discrete = model.quantizer is not None
        self.quality, self.reading, self.everything = Quality(), Stopwatch(), Stopwatch()
        self.waiting: list[np.ndarray] = []

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        latents = self.model.encode_stream(self.reading.time(self._originals()))
        if not self.discrete:
            latents = (piece.to(self.latent_dtype) for piece in latents)
        # On the CPU inside of the stopwatch: a GPU works on after a call returns.
        decoded = (piece.float().cpu() for piece in self.model.decode_stream(latents))
        for piece in self.everything.time(decoded):
            reconstruction = self.stream.to_pixels(piece)
            original = np.concatenate(self.waiting)
            # The last piece ends with the frames that filled up the last patch.
            count = min(len(original), len(reconstruction))
            self.waiting = [original[count:]]
            self.quality.add(original[:count], reconstruction[:count])
            yield original[:count], reconstruction[:count]

    def _originals(self) -> Iterator[torch.Tensor]:
        for piece in self.stream:
            self.waiting.append(self.stream.to_pixels(piece))
            yield piece

    def facts(self) -> dict[str, Any]:
        """The numbers of a table's row, after the iteration has ended."""
        content = "codes" if self.discrete else "latents"
        bits = self.stream.tokens * bits_per_token(self.model.config, content, self.latent_dtype)
        return {
            "kind": self.stream.kind,
            "media_size": list(self.stream.media_size),
            "fps": self.stream.fps,
            "tokens": self.stream.tokens,
            "bits_per_pixel": bits / math.prod(self.stream.media_size),
            "latent_dtype": "codes" if self.discrete else str(self.latent_dtype).removeprefix("torch."),
            "psnr": self.quality.psnr,
            "ssim": self.quality.ssim,
            "seconds": self.everything.seconds - self.reading.seconds,
        }
