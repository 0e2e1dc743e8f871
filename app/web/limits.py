"""What an upload may be and how long the work on it may take, so that a public server survives its visitors."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from atoken.processing.media_reading_atoken import check_file, iter_video, open_image
from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES, media_kind
from atoken.processing.mesh_reading_atoken import read_mesh


class TooLong(ValueError):
    """Says that the work on an upload was given up."""


@dataclass(frozen=True)
class Limits:
    """
    Holds the limits of a server.

    Attributes:
        megabytes: of a file.
        image_pixels: height times width of a picture.
        frame_pixels: height times width of a video.
        frames: of a video.
        triangles: of a mesh.
        seconds: of work on one request.
        letters: of a text.
        images: that are generated at a time.
        waiting: requests in the queue; more are refused.
    """

    megabytes: int = 32
    image_pixels: int = 2_100_000
    frame_pixels: int = 500_000
    frames: int = 128
    triangles: int = 300_000
    seconds: float = 120.0
    letters: int = 400
    images: int = 16
    waiting: int = 16

    def check_text(self, text: str | None) -> str:
        """
        Gives a text without space around it.

        Raises:
            ValueError: it is empty or too long.
        """
        text = (text or "").strip()
        if not text:
            raise ValueError("text must not be empty; type something first")
        if len(text) > self.letters:
            raise ValueError(f"text must have at most {self.letters} letters here, got {len(text)}")
        return text

    def check_file(self, file: str | None) -> tuple[Path, str]:
        """
        Looks into an upload before a model sees it.

        Returns:
            The file and its kind: "image", "video" or "object".

        Raises:
            ValueError: there is none, it is of another kind, or larger than a server takes.
        """
        if file is None:
            raise ValueError("file must be a picture, a video or a mesh; drop one first")
        path = check_file(file, "file")
        kind = media_kind(path)
        if kind is None:
            raise ValueError(f"file must have one of the suffixes {', '.join(sorted(MEDIA_SUFFIXES))}, got {path.name}")
        size = path.stat().st_size / 1e6
        if size > self.megabytes:
            raise ValueError(f"file must have at most {self.megabytes} MB here, got {size:.0f} MB")
        {"image": self._check_image, "video": self._check_video, "object": self._check_mesh}[kind](path)
        return path, kind

    def _check_image(self, path: Path) -> None:
        _, height, width = open_image(path, "file").shape
        if height * width > self.image_pixels:
            raise ValueError(
                f"file must be a picture of at most {self.image_pixels:,} pixels here, got {width} x {height}; "
                "make it smaller"
            )

    def _check_video(self, path: Path) -> None:
        _, frames = iter_video(path, "file")
        for index, frame in enumerate(islice(frames, self.frames + 1)):
            height, width = frame.shape[:2]
            if height * width > self.frame_pixels:
                raise ValueError(
                    f"file must be a video of at most {self.frame_pixels:,} pixels a frame here, got {width} x "
                    f"{height}; make it smaller"
                )
            if index == self.frames:
                raise ValueError(f"file must be a video of at most {self.frames} frames here, got more; cut it")

    def _check_mesh(self, path: Path) -> None:
        triangles = len(read_mesh(path).faces)
        if triangles > self.triangles:
            raise ValueError(
                f"file must be a mesh of at most {self.triangles:,} triangles here, got {triangles:,}; simplify it"
            )

    def deadline(self) -> "Deadline":
        """Starts the time of one request."""
        return Deadline(self.seconds)


class Deadline:
    """Ends work that takes too long, between its steps."""

    def __init__(self, seconds: float):
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """
        Goes on if there is time left.

        Raises:
            TooLong: there is none.
        """
        if time.monotonic() > self._end:
            raise TooLong(f"file must take at most {self.seconds:g} seconds here, got more; give a smaller one")

    def after_step(self, pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Checks the time after a step of a pipeline of diffusers, which takes this as `callback_on_step_end`."""
        self.check()
        return tensors

    def watch(self, items: Iterable[Any]) -> Iterator[Any]:
        """Hands items on as long as there is time."""
        for item in items:
            self.check()
            yield item
