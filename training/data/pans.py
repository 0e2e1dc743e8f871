"""Clips from photos: a camera glides and zooms over them, smoothly, as real clips of a laptop's size are few."""

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tvF

FRAMES = 32
WINDOW = 0.55  # of the photo's shorter side that a frame shows
LONGEST = 640  # pixels of a photo's shorter side at most; more would be lost in resizing anyway
SPEEDS = (0.5, 2.0, 5.0)  # pixels a frame
MOST_ZOOM = 0.006  # of the window a frame


def glide(photo: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """
    Lets a camera glide over a photo, which is mirrored at its borders.

    Args:
        photo: (3, H, W) uint8.
        rng: decides on the way.

    Returns:
        (32, 3, S, S) uint8, where S is the side of the window.
    """
    if min(photo.shape[1:]) > LONGEST:
        photo = tvF.resize(photo, [LONGEST], antialias=True)
    height, width = photo.shape[1:]
    side = round(WINDOW * min(height, width))
    time = torch.arange(FRAMES) - FRAMES / 2
    speed = rng.choice(SPEEDS) * torch.from_numpy(rng.uniform(-1, 1, 2)).float()
    zoom = rng.uniform(-MOST_ZOOM, MOST_ZOOM) if rng.random() < 0.5 else 0.0
    scale = 1 + zoom * time
    room = torch.tensor([height - side, width - side]) / 2
    middle = torch.tensor([height, width]) / 2 + room * torch.from_numpy(rng.uniform(-0.5, 0.5, 2)).float()
    center = middle + speed * time[:, None]  # (T, 2)
    offset = scale[:, None] * (torch.arange(side) - (side - 1) / 2)  # (T, S)
    y = (center[:, :1] + offset)[:, :, None].expand(-1, -1, side)
    x = (center[:, 1:] + offset)[:, None, :].expand(-1, side, -1)
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    frames = photo.float().expand(FRAMES, -1, -1, -1)
    moved = torch.nn.functional.grid_sample(frames, grid, padding_mode="reflection", align_corners=True)
    return moved.round().clamp(0, 255).to(torch.uint8)
