"""Prepared 3D objects: tokens beside pictures of the object, how well Gaussians render, and the baseline."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.functional import pad

from atoken import AtokenModel
from atoken.evaluation.models.object_baselines import draw_cubes
from atoken.processing import Cameras
from atoken.tokenizing.quality import psnr, ssim


@dataclass
class PreparedObject:
    """Holds what `python -m atoken.training.data.prepare_objects` writes for one object."""

    name: str
    coords: torch.Tensor  # (N, 3) int64
    rgb: torch.Tensor  # (N, 768) uint8, the patches that were encoded
    images: torch.Tensor  # (K, 3, S, S) uint8, on black
    cameras: Cameras

    @classmethod
    def load(cls, path: Path) -> "PreparedObject":
        """Reads the file of an object."""
        data = load_file(path)
        cameras = Cameras(data["world_to_camera"].float(), data["intrinsics"].float())
        return cls(path.stem, data["coords"].long(), data["rgb"], data["images"], cameras)

    def to(self, device: torch.device | str) -> "PreparedObject":
        """Gives a copy on a device; cameras stay, the renderer moves them."""
        moved = {name: getattr(self, name).to(device) for name in ("coords", "rgb", "images")}
        return replace(self, **moved)


@torch.no_grad()
def decoded_voxels(model: AtokenModel, item: PreparedObject) -> torch.Tensor:
    """Runs an object through encoder and decoder: (N, 768) in [-1, 1], what a Gaussian decoder is given."""
    coords = pad(item.coords, (1, 0))  # (N, 4), all at t = 0
    tokens = pad(item.rgb.float() / 127.5 - 1, (0, 3 * item.rgb.shape[1]))  # (N, 3072)
    cu_seqlens = torch.tensor([0, len(coords)], dtype=torch.int32, device=coords.device)
    latents = model.encode(tokens, coords, cu_seqlens, pool=False).latents
    return model.decode(latents, coords, cu_seqlens).pixel_values[:, : item.rgb.shape[1]]


def measure_views(draw: Callable[[PreparedObject], torch.Tensor], paths: list[Path]) -> dict[str, float]:
    """
    Measures the mean PSNR and SSIM over all views of all objects, background included.

    Args:
        draw: gives the pictures of an object, (K, 3, S, S) in [0, 1], at its cameras, on black.
        paths: prepared objects.
    """
    psnrs, ssims = [], []
    for path in paths:
        item = PreparedObject.load(path)
        pictures = (draw(item).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        for picture, original in zip(pictures.split(1), item.images.split(1), strict=True):
            psnrs.append(psnr(picture, original))
            ssims.append(ssim(picture, original))
    return {
        "psnr": sum(psnrs) / len(psnrs),
        "ssim": sum(ssims) / len(ssims),
        "objects": len(paths),
        "views": len(psnrs),
    }


def flat_voxels(item: PreparedObject) -> torch.Tensor:
    """Draws the baseline: every occupied voxel is a cube in the mean color of its patch as it was encoded."""
    colors = item.rgb.float().unflatten(1, (256, 3)).mean(1) / 255  # (N, 3)
    return draw_cubes(item.coords, colors, item.cameras, item.images.shape[-1])
