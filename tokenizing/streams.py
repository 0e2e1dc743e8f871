"""Media files as streams of pieces for the tokenizer, and back to files: what the `atoken` command runs on."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atoken.modeling_atoken import AtokenModel
from atoken.processing import (
    AtokenProcessor,
    image_processing_atoken,
    media_reading_atoken,
    mesh_reading_atoken,
    packing_atoken,
    pil_decoding_atoken,
)
from atoken_app.jobs import Failure, Job, UsageError, find_files
from atoken_app.options import DEFAULT_MODEL, Device, Dtype

from .files import folder_of
from .loading import find_model, load_model

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"})
OBJECT_SUFFIXES = frozenset(mesh_reading_atoken.SUFFIXES)
# These may also hold an animation; only a look inside tells.
ANIMATED_SUFFIXES = frozenset({".apng", ".gif", ".png", ".webp"})


@dataclass
class Tokenizer:
    """
    A loaded model with its processor.

    Attributes:
        model: in evaluation mode, on its device.
        processor: that of its folder, or one with the defaults.
        name: what leads to the model again: an embedded name, an absolute folder, or a Hub name.
        fingerprint: of its decoder.
    """

    model: AtokenModel
    processor: AtokenProcessor
    name: str
    fingerprint: str

    @property
    def discrete(self) -> bool:
        return self.model.quantizer is not None


def load_tokenizer(name: str | None, device: Device, dtype: Dtype | None) -> Tokenizer:
    """
    Loads a model and its processor; without a dtype, in that of the files.

    Raises:
        UsageError: if the device is not there.
        FileNotFoundError, ValueError: if there is no such model, or it is incomplete or damaged.
    """
    target = resolve_device(device)
    folder, label = find_model(DEFAULT_MODEL if name is None else name)
    model, fingerprint = load_model(folder, target, dtype.value if dtype else None)
    has_processor = any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))
    processor = AtokenProcessor.from_pretrained(folder) if has_processor else AtokenProcessor()
    given, patch = tuple(processor.image_processor.patch_size), tuple(model.config.vision_config.patch_size)
    if given != patch:
        raise ValueError(f"--model: the processor in {folder} makes patches of {given}, the model takes {patch}")
    return Tokenizer(model, processor, label, fingerprint)


def resolve_device(device: Device) -> str:
    """ "cuda" or "cpu". Raises UsageError if the one asked for is not there."""
    if device is Device.cuda and not torch.cuda.is_available():
        raise UsageError("--device: cuda was asked for, but torch sees no CUDA device; use cpu or auto")
    return "cuda" if device is not Device.cpu and torch.cuda.is_available() else "cpu"


def find_media(inputs: list[str]) -> tuple[list[Job], list[Failure]]:
    """The images, videos and meshes that the arguments of a command stand for; see `find_files`."""
    jobs, failures = find_files(inputs, IMAGE_SUFFIXES | VIDEO_SUFFIXES | OBJECT_SUFFIXES)
    for job in jobs:
        suffix = job.path.suffix.lower()
        if suffix in OBJECT_SUFFIXES:
            job.kind = "object"
        else:
            job.kind = "video" if suffix in VIDEO_SUFFIXES or _is_animated(job.path) else "image"
    return jobs, failures


def _is_animated(path: Path) -> bool:
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except pil_decoding_atoken.DECODING_ERRORS:
        return False  # What is wrong with it is said where it is read.


class MediaStream:
    """
    An image or video as dense pieces for `encode_stream`: (t, 3, H, W) in [-1, 1], H and W filled up to whole patches.

    Attributes:
        fps: what the file states, None for images.
        size: true (height, width), known after the first piece.
        frames: how many have been read.
    """

    def __init__(self, loaded: Tokenizer, kind: str, batches: Iterable[Any], fps: float | None = None):
        self.loaded, self.kind, self.batches, self.fps = loaded, kind, batches, fps
        self.patch = loaded.model.vision_model.patch_size
        self.size, self.frames = (0, 0), 0

    @classmethod
    def open(cls, loaded: Tokenizer, path: Path, kind: str) -> "MediaStream":
        """From a file."""
        if kind == "image":
            return cls(loaded, kind, (loaded.processor(images=[str(path)]) for _ in range(1)))
        metadata, frames = media_reading_atoken.iter_video(path, "video")
        return cls(loaded, kind, _pack_clips(loaded, frames), metadata.fps)

    @classmethod
    def of_frames(cls, loaded: Tokenizer, frames: np.ndarray) -> "MediaStream":
        """From (T, H, W, 3) uint8; one frame is an image."""
        if len(frames) == 1:
            options = {"input_data_format": "channels_last"}
            return cls(loaded, "image", [loaded.processor(images=[frames[0]], images_kwargs=options)])
        return cls(loaded, "video", _pack_clips(loaded, frames))

    def __iter__(self) -> Iterator[torch.Tensor]:
        for batch in self.batches:
            frames, *size = batch["media_sizes"][0].tolist()
            self.size = tuple(size)
            self.frames += frames
            padded = [-(-side // patch) * patch for side, patch in zip(size, self.patch[1:], strict=True)]
            batch["media_sizes"][0, 1:] = batch["media_sizes"].new_tensor(padded)
            yield packing_atoken.unpack_media(**batch, patch_size=self.patch)[0]

    def to_pixels(self, frames: torch.Tensor) -> np.ndarray:
        return to_pixels(self.loaded, self.kind, frames, self.size)

    @property
    def media_size(self) -> tuple[int, int, int]:
        return (self.frames, *self.size)

    @property
    def tokens(self) -> int:
        return math.prod(-(-side // patch) for side, patch in zip(self.media_size, self.patch, strict=True))


def _pack_clips(loaded: Tokenizer, frames: Iterable[np.ndarray]) -> Iterator[Any]:
    """Packed batches of one tile of frames each."""
    options = {"do_sample_frames": False, "input_data_format": "channels_last"}
    for clip in _chunks(frames, loaded.model.config.vision_config.tile_frames):
        yield loaded.processor(videos=[np.stack(clip)], videos_kwargs=options)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def to_pixels(loaded: Tokenizer, kind: str, frames: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """(t, 3, H, W) about [-1, 1] -> (t, height, width, 3) uint8. Raises ValueError for NaN."""
    processor = loaded.processor.image_processor if kind == "image" else loaded.processor.video_processor
    statistics = image_processing_atoken.output_statistics(processor)
    return packing_atoken.media_to_output(frames[:, :, : size[0], : size[1]], "np", *statistics)


def write_media(
    target: Path, kind: str, pieces: Iterable[np.ndarray], stated_fps: float | None, fps: float | None
) -> None:
    """Writes (t, height, width, 3) uint8 pieces: the one frame of an image, or a video as it comes."""
    if kind == "video" and stated_fps is None and fps is None:
        raise ValueError("the video states no frame rate; say --fps")
    with folder_of(target):
        if kind == "image":
            (frame,) = itertools.chain.from_iterable(pieces)
            media_reading_atoken.write_image(target, frame)
        else:
            media_reading_atoken.write_video(target, itertools.chain.from_iterable(pieces), stated_fps or fps)
