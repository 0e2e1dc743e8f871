"""Images and videos as streams of pieces for a model, and back to files."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atoken.processing.image_processing_atoken import output_statistics
from atoken.processing.media_reading_atoken import iter_video, open_image
from atoken.processing.media_writing_atoken import write_image, write_video
from atoken.processing.packing_atoken import media_to_output, unpack_media
from atoken.processing.patching_atoken import grid_size
from atoken.tokens_atoken import unpatchify

from .files import folder_of
from .images import to_eight_bits
from .loading import LoadedModel


class MissingFrameRate(ValueError):
    """Says that a video cannot be written, as nobody states its frame rate."""


@dataclass(frozen=True)
class MediaPiece:
    """
    Holds some frames of an image or video.

    Attributes:
        frames: (T, H, W, 3) uint8, in the size that the processor gives them.
        patches: (t, h, w, patch_dim) in [-1, 1], as the processor packs them.
    """

    frames: np.ndarray
    patches: torch.Tensor


class MediaStream:
    """
    Iterates over the pieces of an image or video, each of the frames of one tile.

    Attributes:
        fps: frames per second, of uneven ones their mean; None for images, and where a file does not tell.
        times: seconds at which each frame of the video appears, and at which the last ends, if frames are not even.
        size: true (height, width), known after the first piece.
        frames: how many have been read.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        kind: str,
        clips: Iterable[np.ndarray | torch.Tensor],
        fps: float | None = None,
        times: list[float] | None = None,
    ):
        self.loaded, self.kind, self.fps, self.times = loaded, kind, fps, times
        self.patch = loaded.model.vision_model.patch_size
        self.size, self.frames = (0, 0), 0
        self._clips = clips

    @classmethod
    def open(cls, loaded: LoadedModel, path: Path, kind: str) -> "MediaStream":
        """Opens a file; `kind` is "image" or "video"."""
        if kind == "image":
            return cls(loaded, kind, (open_image(path, "image") for _ in range(1)))
        metadata, frames = iter_video(path, "video")
        times = None if metadata.frame_times is None else [*metadata.frame_times, metadata.duration]
        return cls(loaded, kind, _clips(loaded, frames), metadata.fps, times)

    @classmethod
    def of_frames(cls, loaded: LoadedModel, frames: np.ndarray) -> "MediaStream":
        """Streams (T, H, W, 3) uint8; one frame is an image."""
        if len(frames) == 1:
            return cls(loaded, "image", [torch.from_numpy(frames[0]).permute(2, 0, 1)])
        return cls(loaded, "video", _clips(loaded, frames))

    def __iter__(self) -> Iterator[MediaPiece]:
        for clip in self._clips:
            if self.kind == "image":
                packed = self.loaded.processor(images=[clip], images_kwargs={"input_data_format": "channels_first"})
            else:
                options = {"do_sample_frames": False, "input_data_format": "channels_last"}
                packed = self.loaded.processor(videos=[clip], videos_kwargs=options)
            frames, *size = packed["media_sizes"][0].tolist()
            self.size = tuple(size)
            self.frames += frames
            patches = packed["pixel_values"].unflatten(0, grid_size((frames, *size), self.patch))
            yield MediaPiece(self._pixels(clip, packed), patches)

    def _pixels(self, clip: np.ndarray | torch.Tensor, packed: Any) -> np.ndarray:
        """Gives what the patches show, as 8-bit pixels: the clip itself, unless the processor has changed its size."""
        if isinstance(clip, torch.Tensor):
            clip = to_eight_bits(clip, "images").permute(1, 2, 0)[None].numpy()
        if clip.shape[1:3] == self.size:
            return clip
        keys = ("pixel_values", "coords", "cu_seqlens", "media_sizes")
        (media,) = unpack_media(*(packed[key] for key in keys), patch_size=self.patch)
        return media_to_output(media, "np", *self._statistics())

    def _statistics(self) -> tuple[Any, Any]:
        processor = self.loaded.processor
        return output_statistics(processor.image_processor if self.kind == "image" else processor.video_processor)

    def to_pixels(self, patches: torch.Tensor) -> np.ndarray:
        """Puts patches (t, h, w, patch_dim), about [-1, 1], together: (T, height, width, 3) uint8 of the true size."""
        return to_pixels(self.loaded, self.kind, patches, self.size)

    @property
    def media_size(self) -> tuple[int, int, int]:
        """Gives the (frames, height, width) so far."""
        return (self.frames, *self.size)

    @property
    def tokens(self) -> int:
        """Counts the tokens so far."""
        return math.prod(grid_size(self.media_size, self.patch))


def _clips(loaded: LoadedModel, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """(T, H, W, 3) of the frames of one tile each."""
    iterator = iter(frames)
    while clip := list(itertools.islice(iterator, loaded.model.config.vision_config.tile_frames)):
        yield np.stack(clip)


def to_pixels(loaded: LoadedModel, kind: str, patches: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """
    Puts patches together to pixels, cut to the true height and width.

    Args:
        kind: "image" or "video".
        patches: (t, h, w, patch_dim) about [-1, 1].
        size: true (height, width).

    Returns:
        (T, height, width, 3) uint8.

    Raises:
        ValueError: values are not finite.
    """
    processor = loaded.processor.image_processor if kind == "image" else loaded.processor.video_processor
    media = unpatchify(patches[None], loaded.model.vision_model.patch_size)[0]
    return media_to_output(media[:, :, : size[0], : size[1]], "np", *output_statistics(processor))


def write_media(
    target: Path,
    kind: str,
    pieces: Iterable[np.ndarray],
    fps: float | None,
    times: Sequence[float] | None = None,
) -> None:
    """
    Writes the one frame of an image, or a video as it comes; the folder is made if need be.

    Args:
        target: a suffix says the format.
        kind: "image" or "video".
        pieces: (t, height, width, 3) uint8.
        fps: frames per second of a video.
        times: as in `MediaStream`, for frames that are not even.

    Raises:
        MissingFrameRate: a video without `fps`.
    """
    if kind == "video" and fps is None:
        raise MissingFrameRate("fps must be given, as the video states no frame rate")
    frames = itertools.chain.from_iterable(pieces)
    with folder_of(target):
        if kind == "image":
            (frame,) = frames
            write_image(target, frame)
        else:
            write_video(target, frames, fps, times=times)
