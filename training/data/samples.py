"""From a raw example to the tokens of a training sample, task by task (paper, sections 3.4 and 4.1).

Pictures keep their aspect ratio and are resized to whole patches, so that no pixel of a batch is padding. They are
never enlarged, but for what rounding to whole patches adds. Tokens are bytes here: the device makes numbers of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvF

from atoken.processing import Cameras
from atoken.processing.media_reading_atoken import check_file
from atoken.processing.picture_files_atoken import DECODING_ERRORS, read_picture
from atoken.processing.pil_decoding_atoken import stored_to_rgb

from .clip_files import read_clip
from .clips import each_second, strided
from .limits import LATENT, PATCH, Draw, Limits, patches_that_fit, side_within
from .object_shards import open_object

# A JPEG is decoded at a half or less where that still has twice the rows and columns that are wanted. What remains for
# the antialiased resizing hides the difference: on photos 47 dB in the mean and 38 at least, where a bicubic filter in
# place of the bilinear one differs by 43 and 39. An odd side is stretched by at most half a pixel; rounding to patches
# stretches by more.
_SHRINK = 2
# Reading a damaged example raises one of these.
UNREADABLE = DECODING_ERRORS


class TooLarge(ValueError):
    """Says that an object has more voxels than a batch may have tokens; it is passed over."""


@dataclass
class TrainingSample:
    """
    Holds the tokens of one sample.

    Attributes:
        pixel_values: (N, W) uint8, the values that a token has: W is 768 of images and voxels, which are one frame, and
            3072 of videos.
        coords: (N, 4) int64 [t, x, y, z].
        grid: (t, h, w) of an image or a video, None of an object.
        frames: of a video, as many as it has; 1 of all else.
        caption: if the task has texts.
        views, cameras: (K, 3, S, S) uint8 on black and their cameras, if an object is reconstructed.
    """

    pixel_values: torch.Tensor
    coords: torch.Tensor
    grid: tuple[int, int, int] | None = None
    frames: int = 1
    caption: str | None = None
    views: torch.Tensor | None = None
    cameras: Cameras | None = None

    def __len__(self) -> int:
        return len(self.coords)


def make_sample(
    task: str, example: dict[str, Any], limits: Limits, rng: np.random.Generator, draw: Draw | None = None
) -> TrainingSample:
    """
    Makes the sample of an example.

    Args:
        task: what is done, of which medium, such as "image_understanding".
        example: what a source hands out.
        limits: how large it may be.
        rng: decides all that is random about this sample beside its size.
        draw: its size; by default `rng` draws that too.

    Raises:
        TooLarge: it has too many voxels.
        Exception: one of `UNREADABLE`, if it is damaged.
    """
    sample = _MAKERS[task](example["media"], limits, rng, draw or Draw.alone(task, limits, rng))
    if not task.endswith("understanding"):
        return sample
    if not example.get("caption"):
        raise ValueError("the example has no caption, which understanding needs")
    return replace(sample, caption=example["caption"])


def _tokens(frames: torch.Tensor, side: float, most: int) -> TrainingSample:
    """Turns (T, 3, H, W) uint8 into tokens, of at most `most` patches a frame."""
    rows, columns = patches_that_fit(*frames.shape[2:], side, most)
    size = [rows * PATCH, columns * PATCH]
    if list(frames.shape[2:]) != size:
        # The bits that torchvision's `resize` gives, which copies the pixels twice more.
        frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
    count = len(frames)
    depth = 1 if count == 1 else LATENT
    latent_frames = -(-count // depth)
    if latent_frames * depth > count:
        frames = F.pad(frames, (0, 0, 0, 0, 0, 0, 0, latent_frames * depth - count))
    patches = frames.view(latent_frames, depth, 3, rows, PATCH, columns, PATCH).permute(0, 3, 5, 1, 4, 6, 2)
    grid = latent_frames, rows, columns
    return TrainingSample(patches.reshape(math.prod(grid), -1), _coords(grid), grid, count)


@lru_cache(64)
def _coords(grid: tuple[int, int, int]) -> torch.Tensor:
    return torch.cartesian_prod(*(torch.arange(length) for length in (*grid, 1)))


def _own_side(frames: torch.Tensor) -> float:
    return math.sqrt(frames.shape[2] * frames.shape[3])


def _picture(media: Any, side_of: Callable[[float], float], most: int) -> TrainingSample:
    """
    Reads a picture and turns it into tokens.

    Args:
        media: a file, its bytes, or (3, H, W).
        side_of: geometric mean of the picture's own sides -> that of those it gets.
        most: tokens at most.
    """
    known: list[float] = []

    def needed(height: int, width: int) -> tuple[int, int]:
        known.append(math.sqrt(height * width))
        rows, columns = patches_that_fit(height, width, side_of(known[0]), most)
        return _SHRINK * PATCH * rows, _SHRINK * PATCH * columns

    if isinstance(media, torch.Tensor):
        pixels = media
    else:
        name = "the picture" if isinstance(media, bytes) else str(media)
        data = media if isinstance(media, bytes) else check_file(media, "media").read_bytes()
        pixels = stored_to_rgb(read_picture(data, name, needed), name, planar=False)
    if pixels.dtype != torch.uint8:
        pixels = tvF.to_dtype(pixels, torch.uint8, scale=True)
    # The new dimension in front of rows: so torch sees it where the values of pixels lie together, and keeps them so.
    frames = pixels.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return _tokens(frames, side_of(known[0] if known else _own_side(frames)), most)


def _image_understanding(media: Any, limits: Limits, rng: np.random.Generator, draw: Draw) -> TrainingSample:
    return _picture(media, lambda own: own, limits.understanding_tokens)


def _image_reconstruction(media: Any, limits: Limits, rng: np.random.Generator, draw: Draw) -> TrainingSample:
    return _picture(media, lambda own: float(side_within(limits.image_resolution, own, draw.share)), limits.max_tokens)


def _video_understanding(media: Any, limits: Limits, rng: np.random.Generator, draw: Draw) -> TrainingSample:
    is_drawn = isinstance(media, torch.Tensor)
    frames = media if is_drawn else read_clip(media, each_second(limits.understanding_frames))
    latent_frames = -(-len(frames) // LATENT)
    return _tokens(frames, _own_side(frames), min(limits.understanding_tokens, limits.max_tokens // latent_frames))


def _video_reconstruction(media: Any, limits: Limits, rng: np.random.Generator, draw: Draw) -> TrainingSample:
    select = strided(draw.frames, rng)
    frames = media[list(select(len(media), 25.0))] if isinstance(media, torch.Tensor) else read_clip(media, select)
    side = float(side_within(limits.video_resolution, _own_side(frames), draw.share))
    return _tokens(frames, side, limits.max_tokens // -(-len(frames) // LATENT))


def _object(media: Any) -> tuple[Mapping[str, Any], TrainingSample]:
    tensors = open_object(media)
    return tensors, TrainingSample(tensors["rgb"], F.pad(tensors["coords"].long(), (1, 0)))


def _object_understanding(media: Any, limits: Limits, rng: np.random.Generator, draw: Draw) -> TrainingSample:
    _, sample = _object(media)
    most = len(sample) if limits.object_voxels is None else limits.object_voxels
    if most < len(sample):
        chosen = torch.from_numpy(np.sort(rng.choice(len(sample), most, replace=False)))
        sample = TrainingSample(sample.pixel_values[chosen], sample.coords[chosen])
    _check_size(sample, limits.max_tokens)
    return sample


def _object_reconstruction(media: Any, limits: Limits, rng: np.random.Generator, draw: Draw) -> TrainingSample:
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


_MAKERS: dict[str, Callable[[Any, Limits, np.random.Generator, Draw], TrainingSample]] = {
    "image_understanding": _image_understanding,
    "image_reconstruction": _image_reconstruction,
    "video_understanding": _video_understanding,
    "video_reconstruction": _video_reconstruction,
    "3d_understanding": _object_understanding,
    "3d_reconstruction": _object_reconstruction,
}
