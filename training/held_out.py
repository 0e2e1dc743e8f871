"""PSNR and SSIM of a tokenizer on photos and clips held out of training, whole and without tiles in space."""

from collections.abc import Callable
from pathlib import Path

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF

from atoken.processing.media_reading_atoken import open_image, read_video

from .evaluation.metrics import psnr, ssim


def load_squares(folder: Path, side: int) -> list[torch.Tensor]:
    """Every photo as uint8 (3, side, side): short side resized to `side` (bicubic, antialias), centre crop."""
    squares = []
    for path in sorted(folder.iterdir()):
        photo = open_image(path)
        photo = tvF.resize(photo, [side], interpolation=InterpolationMode.BICUBIC, antialias=True)
        squares.append(tvF.center_crop(photo, [side, side]))
    return squares


def load_held_out_clips(folder: Path, frames: int, side: int) -> list[torch.Tensor]:
    """Pieces of `frames` frames from every clip as uint8 (frames, 3, H, W), every 60 frames, short side `side`."""
    pieces = []
    for path in sorted(folder.iterdir()):
        clip = torch.as_tensor(read_video(path)[0]).permute(0, 3, 1, 2)
        for start in range(0, len(clip) - frames + 1, 60):
            piece = tvF.resize(clip[start : start + frames], [side], antialias=True)
            height, width = (n // 16 * 16 for n in piece.shape[-2:])
            pieces.append(tvF.center_crop(piece, [height, width]))
    return pieces


def to_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> rounded 8-bit values."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def measure(reconstruct: Callable[[torch.Tensor], torch.Tensor], media: list[torch.Tensor]) -> dict[str, float]:
    """
    Mean PSNR and SSIM.

    Args:
        reconstruct: (1, T, 3, H, W) in [-1, 1] -> the same shape.
        media: uint8 (3, H, W) or (T, 3, H, W).
    """
    psnrs, ssims = [], []
    for item in media:
        video = (item if item.ndim == 4 else item[None])[None]
        output = to_bytes(reconstruct(video.float() / 127.5 - 1))
        psnrs.append(psnr(output[0], video[0]))
        ssims.append(ssim(output[0], video[0]))
    return {"psnr": sum(psnrs) / len(psnrs), "ssim": sum(ssims) / len(ssims), "count": len(psnrs)}
