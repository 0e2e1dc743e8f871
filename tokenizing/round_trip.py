"""Media through a model and back: how close they come (PSNR and SSIM of 8-bit pixels), what they cost and how long."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .latent_files import bits_per_token
from .loading import LoadedModel
from .quality import Quality
from .streams import MediaStream


class Stopwatch:
    """Adds up the seconds that pass inside iterators."""

    def __init__(self):
        self.seconds = 0.0

    def time(self, items: Iterable[Any]) -> Iterator[Any]:
        """Hands the items on, and counts what getting them takes."""
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


@dataclass(frozen=True)
class Measured:
    """
    Holds what a round trip is measured by.

    Attributes:
        kind: "image", "video" or "object".
        media_size: (frames, height, width), None for an object.
        fps: frames per second of a video, of uneven ones their mean.
        tokens: how many there are.
        bits_per_pixel: of all that is stored, over the true pixels of all frames; None for an object.
        latent_dtype: "codes", or how latents are stored.
        psnr: in decibels, None for equal pixels.
        ssim: None for sides of less than 11 pixels.
        seconds: of the model alone.
    """

    kind: str
    media_size: list[int] | None
    fps: float | None
    tokens: int
    bits_per_pixel: float | None
    latent_dtype: str
    psnr: float | None
    ssim: float | None
    seconds: float


class RoundTrip:
    """
    Iterates over (original, reconstruction), each (t, height, width, 3) uint8, as if stored in between.

    Args:
        loaded: the model.
        stream: the original.
        latent_dtype: how latents are stored; codes are exact.

    Attributes:
        quality: PSNR and SSIM so far.
    """

    def __init__(self, loaded: LoadedModel, stream: MediaStream, latent_dtype: torch.dtype):
        self.loaded, self.stream, self.latent_dtype = loaded, stream, latent_dtype
        self.quality = Quality()
        self._reading, self._everything = Stopwatch(), Stopwatch()
        self._waiting: list[np.ndarray] = []

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        model = self.loaded.model
        latents = model.encode_stream(self._reading.time(self._patches()), as_patches=True)
        if not self.loaded.discrete:
            latents = (piece.to(self.latent_dtype) for piece in latents)
        # On the CPU inside of the stopwatch: a GPU works on after a call returns.
        decoded = (piece.float().cpu() for piece in model.decode_stream(latents, as_patches=True))
        for piece in self._everything.time(decoded):
            reconstruction = self.stream.to_pixels(piece)
            original = np.concatenate(self._waiting)
            # The last piece ends with the frames that padded the last patch.
            count = min(len(original), len(reconstruction))
            self._waiting = [original[count:]]
            self.quality.add(original[:count], reconstruction[:count])
            yield original[:count], reconstruction[:count]

    def _patches(self) -> Iterator[torch.Tensor]:
        for piece in self.stream:
            self._waiting.append(piece.frames)
            yield piece.patches

    def measured(self) -> Measured:
        """Gives the numbers of the whole trip, after the iteration has ended."""
        content = "codes" if self.loaded.discrete else "latents"
        bits = self.stream.tokens * bits_per_token(self.loaded.model.config, content, self.latent_dtype)
        return Measured(
            kind=self.stream.kind,
            media_size=list(self.stream.media_size),
            fps=self.stream.fps,
            tokens=self.stream.tokens,
            bits_per_pixel=bits / math.prod(self.stream.media_size),
            latent_dtype=content if self.loaded.discrete else str(self.latent_dtype).removeprefix("torch."),
            psnr=self.quality.psnr,
            ssim=self.quality.ssim,
            seconds=self._everything.seconds - self._reading.seconds,
        )
