"""Random crops of photos and clips, and whole photos as squares, to fit and measure PCA."""

import random
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF

from atoken.processing.media_reading_atoken import open_image

from .photo_files import photos_below

PHOTO_SIDES = (256, 384, 512, 768)


def load_photos(folder: Path, most: int, rng: random.Random) -> list[dict[int, torch.Tensor]]:
    """Reads photos below a folder as uint8 (3, H, W), at each of several short sides up to its own size."""
    paths, photos = photos_below(folder), []
    for path in rng.sample(paths, min(most, len(paths))):
        photo = open_image(path)
        short = min(photo.shape[1:])
        sides = [side for side in PHOTO_SIDES if side <= short * 1.34]
        photos.append({side: tvF.resize(photo, [side], antialias=True) for side in sides})
    return photos


def load_squares(folder: Path, side: int) -> list[torch.Tensor]:
    """Reads every photo as uint8 (3, side, side): short side resized to `side` (bicubic, antialias), center crop."""
    squares = []
    for path in photos_below(folder):
        photo = open_image(path)
        photo = tvF.resize(photo, [side], interpolation=InterpolationMode.BICUBIC, antialias=True)
        squares.append(tvF.center_crop(photo, [side, side]))
    return squares


def load_clips(folder: Path, most_frames: int) -> list[torch.Tensor]:
    """Reads the first frames of every clip of a folder as uint8 (T, H, W, 3)."""
    clips = []
    for path in sorted(folder.iterdir()):
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), most_frames)]
        clips.append(torch.from_numpy(np.stack(frames)))
    return clips


def _crop(pixels: torch.Tensor, height: int, width: int, rng: random.Random) -> torch.Tensor:
    top = rng.randint(0, pixels.shape[-2] - height)
    left = rng.randint(0, pixels.shape[-1] - width)
    crop = pixels[..., top : top + height, left : left + width]
    return crop.flip(-1) if rng.random() < 0.5 else crop


def photo_batch(photos: list, side: int, count: int, rng: random.Random) -> torch.Tensor:
    """Cuts (count, 3, side, side) in [-1, 1]: half show as much of a photo as fits, half are details."""
    crops = []
    while len(crops) < count:
        photo = rng.choice(photos)
        fitting = [s for s in photo if s >= side]
        if not fitting:
            continue
        chosen = fitting[0] if rng.random() < 0.5 else rng.choice(fitting)
        crops.append(_crop(photo[chosen], side, side, rng))
    return torch.stack(crops).float() / 127.5 - 1


def clip_batch(clips: list, side: int, frames: int, count: int, rng: random.Random) -> torch.Tensor:
    """Cuts (count, frames, 3, side, side) in [-1, 1] from clips, with strides of 1 to 3 frames, also backwards."""
    batch = []
    while len(batch) < count:
        clip = rng.choices(clips, weights=[len(c) for c in clips])[0]
        stride = rng.randint(1, 3)
        span = (frames - 1) * stride + 1
        if len(clip) < span or min(clip.shape[1:3]) < 128:
            continue
        start = rng.randint(0, len(clip) - span)
        piece = clip[start : start + span : stride].permute(0, 3, 1, 2)
        full = min(piece.shape[-2:])
        if full > side:
            size = rng.choice([full, max(side, full // 2), rng.randint(side, full)])
            if size < full:
                window = _crop(piece, full, full, rng)
                piece = tvF.resize(window, [size, size], antialias=True)
        elif full < side:
            piece = tvF.resize(piece, [side], antialias=True)
        piece = _crop(piece, side, side, rng)
        batch.append(piece.flip(0) if rng.random() < 0.5 else piece)
    return torch.stack(batch).float() / 127.5 - 1


def pan_batch(photos: list, side: int, frames: int, count: int, rng: random.Random) -> torch.Tensor:
    """Lets a camera glide and zoom over photos: (count, frames, 3, side, side) in [-1, 1]."""
    batch = []
    while len(batch) < count:
        photo = rng.choice(photos)
        fitting = [s for s in photo if s >= 1.5 * side]
        if not fitting:
            continue
        pixels = photo[rng.choice(fitting)][None].float() / 127.5 - 1
        height, width = pixels.shape[-2:]
        speed = rng.choice([0.5, 2.0, 5.0]) * torch.tensor([rng.uniform(-1, 1), rng.uniform(-1, 1)])
        zoom = rng.uniform(-0.006, 0.006) if rng.random() < 0.5 else 0.0
        time = torch.arange(frames) - frames / 2
        scale = 1 + zoom * time
        room_y, room_x = (height - side) / 2 - 1, (width - side) / 2 - 1
        center_y = (height / 2 + rng.uniform(-room_y, room_y) / 2 + speed[0] * time)[:, None, None]
        center_x = (width / 2 + rng.uniform(-room_x, room_x) / 2 + speed[1] * time)[:, None, None]
        offset = torch.arange(side) - (side - 1) / 2
        y = center_y + scale[:, None, None] * offset[None, :, None]
        x = center_x + scale[:, None, None] * offset[None, None, :]
        grid = torch.stack(torch.broadcast_tensors(2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1), dim=-1)
        pixels = pixels.expand(frames, -1, -1, -1)
        batch.append(torch.nn.functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=True))
    return torch.stack(batch)
