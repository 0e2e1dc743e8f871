"""The work of `atoken generate --image`: pictures of an object to Gaussians, and these to PLY, turntable and page."""

import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from atoken.evaluation.models.object_generator_loading import load_object_generator
from atoken.gaussian_files_atoken import save_ply
from atoken.gaussians_atoken import Gaussians
from atoken.pages.gaussians import write_gaussian_page
from atoken.tokenizing.files import folder_of
from atoken.tokenizing.pictures import Look, framed

from .errors import naming
from .gaussian_pictures import Turntable, write_turntable


def generate_gaussians(
    images: list[Path],
    masks: list[Path],
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    device: str,
    dtype: str,
) -> tuple[Gaussians, dict[str, Any]]:
    """
    Generates an object of its pictures.

    Args:
        images: files with alpha, or with masks.
        masks: a file for each, white where the object is; or none.
        model: as in `load_object_generator`.
        seed: of noise.
        settings: of both stages of sampling, by the names of `FlowSampling`.
        device, dtype: where and in which number type to compute.

    Returns:
        Its Gaussians on the CPU, and facts: model, seed, voxels, gaussians, seconds.

    Raises:
        ValueError: a picture cannot be used, or the model or a setting does not fit.
    """
    with naming("--image"):
        pictures = [_opened(path) for path in images]
    with naming("--mask"):
        shapes = [_opened(path).convert("L") for path in masks]
    with naming("--model"):
        pipeline, name = load_object_generator(model, device, dtype)
    began = time.perf_counter()
    made = pipeline(
        [pictures],
        masks=[shapes] if shapes else None,
        structure_sampling=settings,
        latent_sampling=settings,
        generator=torch.Generator().manual_seed(seed),
    )
    gaussians = made.gaussians[0].to("cpu")
    facts = {"model": name, "seed": seed, "voxels": len(made.coords), "gaussians": len(gaussians)}
    return gaussians, {**facts, "seconds": round(time.perf_counter() - began, 3)}


def write_object(gaussians: Gaussians, ply: Path, turntable: Path | None, page: Path | None) -> None:
    """Writes Gaussians as PLY and, if asked for, as a video that goes round them and as a page that turns them."""
    with folder_of(ply):
        save_ply(gaussians, ply)
    shown = framed(gaussians)
    if turntable is not None:
        write_turntable(turntable, shown, Look(), Turntable())
    if page is not None:
        with folder_of(page):
            write_gaussian_page(page, shown, title=ply.stem)


def _opened(path: Path) -> Image.Image:
    """Opens a picture with its alpha; it is read at once, so that damage is found here."""
    with Image.open(path) as picture:
        picture.load()
        return picture.copy()
