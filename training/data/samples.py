"""From a raw example to the tokens of a training sample, task by task (paper, sections 3.4 and 4.1).

Pictures keep their aspect ratio and are resized to whole patches, so that no pixel of a batch is padding.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvF

from atoken.processing import Cameras
from atoken.processing.media_reading_atoken import open_image
from atoken.processing.patching_atoken import PATCH_SIZE, pad_and_patchify
from atoken.processing.pil_decoding_atoken import DECODING_ERRORS, pil_to_rgb
from atoken.tokenizing.clips import read_frames

from .clips import each_second, strided
from .object_shards import open_object

# Reading a damaged example raises one of these.
UNREADABLE = DECODING_ERRORS
PATCH = PATCH_SIZE[1]


class TooLarge(ValueError):
    """Says that an object has more voxels than a batch may have tokens; it is passed over."""


@dataclass(frozen=True)
class Limits:
    """
    Says what a stage allows its samples.

    Attributes:
        image_resolution, video_resolution: (least, most) geometric mean of the sides in pixels.
        frames: frames of a video that is reconstructed, one of them at random, multiples of 4.
        max_tokens: of one sample.
        understanding_tokens: of one frame that is understood; larger ones are made smaller.
        understanding_frames: of one video that is understood.
        max_voxels: of an object that is reconstructed, `max_tokens` by default; larger ones are passed over.
        object_voxels: of an object that is understood, others are left out at random; None keeps all.
        views: pictures of an object that its reconstruction is compared with.
    """

    image_resolution: tuple[int, int] = (64, 512)
    video_resolution: tuple[int, int] | None = None
    frames: tuple[int, ...] = (16, 20, 24, 28, 32)
    max_tokens: int = 32768
    understanding_tokens: int = 256
    understanding_frames: int = 64
    max_voxels: int | None = None
    object_voxels: int | None = None
    views: int = 2


@dataclass
class TrainingSample:
    """
    Holds the tokens of one sample.

    Attributes:
        pixel_values: (N, 3072) float32 in [-1, 1].
        coords: (N, 4) int64 [t, x, y, z].
        grid: (t, h, w) of an image or a video, None of an object.
        caption: if the task has texts.
        views, cameras: (K, 3, S, S) uint8 on black and their cameras, if an object is reconstructed.
    """

    pixel_values: torch.Tensor
    coords: torch.Tensor
    grid: tuple[int, int, int] | None = None
    caption: str | None = None
    views: torch.Tensor | None = None
    cameras: Cameras | None = None

    def __len__(self) -> int:
        return len(self.coords)


def make_sample(task: str, example: dict[str, Any], limits: Limits, rng: np.random.Generator) -> TrainingSample:
    """
    Makes the sample of an example.

    Args:
        task: what is done, of which medium, such as "image_understanding".
        example: what a source hands out.
        limits: how large it may be.
        rng: decides all that is random about this sample.

    Raises:
        TooLarge: it has too many voxels.
        Exception: one of `UNREADABLE`, if it is damaged.
    """
    sample = _MAKERS[task](example["media"], limits, rng)
    if not task.endswith("understanding"):
        return sample
    if not example.get("caption"):
        raise ValueError("the example has no caption, which understanding needs")
    return replace(sample, caption=example["caption"])


def patches_that_fit(height: int, width: int, side: float, most: int) -> tuple[int, int]:
    """
    Gives the rows and columns of patches of a picture that keeps its aspect ratio.

    Args:
        height, width: of the picture.
        side: geometric mean of the new sides in pixels.
        most: patches at most.
    """
    side = min(side, PATCH * math.sqrt(most))
    rows = max(1, round(side * math.sqrt(height / width) / PATCH))
    columns = max(1, round(side * math.sqrt(width / height) / PATCH))
    if rows * columns > most:
        # Rounding went up in both; the longer side gives way.
        rows, columns = (most // columns, columns) if rows > columns else (rows, most // rows)
    return max(1, rows), max(1, columns)


def _tokens(frames: torch.Tensor, side: float, most: int) -> TrainingSample:
    """Turns (T, 3, H, W) uint8 into tokens, of at most `most` patches a frame."""
    rows, columns = patches_that_fit(*frames.shape[2:], side, most)
    size = [rows * PATCH, columns * PATCH]
    if list(frames.shape[2:]) != size:
        frames = tvF.resize(frames, size, antialias=True)
    pixel_values, coords = pad_and_patchify(frames.float() / 127.5 - 1)
    return TrainingSample(pixel_values, coords, (len(coords) // (rows * columns), rows, columns))


def _image(media: Any) -> torch.Tensor:
    """Reads a picture, (1, 3, H, W) uint8."""
    if isinstance(media, torch.Tensor):
        picture = media
    elif isinstance(media, bytes):
        with Image.open(io.BytesIO(media)) as image:
            picture = pil_to_rgb(image, "the picture")
    else:
        picture = open_image(media)
    if picture.dtype != torch.uint8:
        picture = tvF.to_dtype(picture, torch.uint8, scale=True)
    return picture[None]


def _side(resolution: tuple[int, int], rng: np.random.Generator) -> float:
    return float(rng.uniform(*resolution))


def _image_understanding(media: Any, limits: Limits, rng: np.random.Generator) -> TrainingSample:
    picture = _image(media)
    side = math.sqrt(picture.shape[2] * picture.shape[3])
    return _tokens(picture, side, limits.understanding_tokens)


def _image_reconstruction(media: Any, limits: Limits, rng: np.random.Generator) -> TrainingSample:
    return _tokens(_image(media), _side(limits.image_resolution, rng), limits.max_tokens)


def _video_understanding(media: Any, limits: Limits, rng: np.random.Generator) -> TrainingSample:
    is_drawn = isinstance(media, torch.Tensor)
    frames = media if is_drawn else read_frames(media, each_second(limits.understanding_frames))
    side = math.sqrt(frames.shape[2] * frames.shape[3])
    latent_frames = -(-len(frames) // PATCH_SIZE[0])
    return _tokens(frames, side, min(limits.understanding_tokens, limits.max_tokens // latent_frames))


def _video_reconstruction(media: Any, limits: Limits, rng: np.random.Generator) -> TrainingSample:
    count = int(rng.choice(limits.frames))
    select = strided(count, rng)
    frames = media[list(select(len(media), 25.0))] if isinstance(media, torch.Tensor) else read_frames(media, select)
    return _tokens(frames, _side(limits.video_resolution, rng), limits.max_tokens // (count // PATCH_SIZE[0]))


def _object(media: Any) -> tuple[Mapping[str, Any], TrainingSample]:
    tensors = open_object(media)
    pixel_values = torch.nn.functional.pad(tensors["rgb"].float() / 127.5 - 1, (0, 3 * tensors["rgb"].shape[1]))
    coords = torch.nn.functional.pad(tensors["coords"].long(), (1, 0))
    return tensors, TrainingSample(pixel_values, coords)


def _object_understanding(media: Any, limits: Limits, rng: np.random.Generator) -> TrainingSample:
    _, sample = _object(media)
    most = len(sample) if limits.object_voxels is None else limits.object_voxels
    if most < len(sample):
        chosen = torch.from_numpy(np.sort(rng.choice(len(sample), most, replace=False)))
        sample = TrainingSample(sample.pixel_values[chosen], sample.coords[chosen])
    _check_size(sample, limits.max_tokens)
    return sample


def _object_reconstruction(media: Any, limits: Limits, rng: np.random.Generator) -> TrainingSample:
    tensors, sample = _object(media)
    _check_size(sample, limits.max_voxels or limits.max_tokens)
    if "images" not in tensors:
        raise ValueError("the object has no 'images' to compare a reconstruction with; `prepare_objects` writes them")
    chosen = rng.choice(len(tensors["images"]), min(limits.views, len(tensors["images"])), replace=False)
    chosen = torch.from_numpy(np.sort(chosen))
    cameras = Cameras(tensors["world_to_camera"][chosen].float(), tensors["intrinsics"][chosen].float())
    return replace(sample, views=tensors["images"][chosen], cameras=cameras)


def _check_size(sample: TrainingSample, most: int) -> None:
    if len(sample) > most:
        raise TooLarge(f"object must have at most {most} voxels, got {len(sample)}")


_MAKERS: dict[str, Callable[[Any, Limits, np.random.Generator], TrainingSample]] = {
    "image_understanding": _image_understanding,
    "image_reconstruction": _image_reconstruction,
    "video_understanding": _video_understanding,
    "video_reconstruction": _video_reconstruction,
    "3d_understanding": _object_understanding,
    "3d_reconstruction": _object_reconstruction,
}
