"""Files of Gaussians to pictures, turntables and pages: what `atoken render` runs on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ImageColor

from atoken.gaussian_files_atoken import load_ply, load_splat
from atoken.gaussians_atoken import Gaussians
from atoken.pages.gaussians import write_gaussian_page
from atoken.processing import cameras_atoken, media_reading_atoken
from atoken.rendering_atoken import render
from atoken.tokenizing.files import folder_of

from .jobs import UsageError, progress_bar

LOADERS: dict[str, Callable[[Path], Gaussians]] = {".ply": load_ply, ".splat": load_splat}
VIEWS, COLUMNS = 8, 4


@dataclass
class Look:
    """How to look: pixels of a side, colour behind, rays per pixel's side, and the turntable's frames and angle."""

    size: int = 512
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    supersampling: int = 1
    frames: int = 90
    fps: float = 30.0
    elevation: float = 20.0


def load_gaussians(path: Path) -> Gaussians:
    """Gaussians of a .ply or .splat file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, or a damaged file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"FILE: {path} does not exist")
    if path.suffix.lower() not in LOADERS:
        raise ValueError(f"FILE: {path} must end in {' or '.join(LOADERS)}; `atoken reconstruct` makes one of a mesh")
    gaussians = LOADERS[path.suffix.lower()](path)
    if not len(gaussians):
        raise ValueError(f"FILE: {path} holds no Gaussians")
    return gaussians


def read_color(text: str) -> tuple[float, float, float]:
    """A name or #rrggbb as red, green and blue in [0, 1]."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(f"--background: got {text!r}; expected a colour, such as white or #202020") from error
    return red / 255, green / 255, blue / 255


def make_pictures(
    gaussians: Gaussians, turntable: Path | None, views: Path | None, page: Path | None, look: Look, title: str
) -> None:
    """Writes what has a path: a video that goes round, a picture of 8 views, a page; existing files are replaced."""
    if turntable is not None:
        cameras = cameras_atoken.turntable_cameras(look.frames, look.elevation)
        with folder_of(turntable):
            media_reading_atoken.write_video(turntable, frames_of(gaussians, cameras, look), look.fps)
    if views is not None:
        pictures = list(frames_of(gaussians, cameras_atoken.hammersley_cameras(VIEWS), look))
        rows = [np.concatenate(pictures[start : start + COLUMNS], axis=1) for start in range(0, VIEWS, COLUMNS)]
        with folder_of(views):
            media_reading_atoken.write_image(views, np.concatenate(rows))
    if page is not None:
        with folder_of(page):
            write_gaussian_page(page, gaussians.to("cpu"), title)


def frames_of(gaussians: Gaussians, cameras: cameras_atoken.Cameras, look: Look) -> Iterator[np.ndarray]:
    """(size, size, 3) uint8 from each camera, one after another."""
    with progress_bar() as progress:
        for camera in progress.track(cameras, total=len(cameras), description="rendering"):
            with torch.no_grad():
                picture = render(gaussians, camera, look.size, look.background, supersampling=look.supersampling)
            yield to_bytes(picture.cpu())[0]


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """(V, 3, H, W) about [0, 1] -> (V, H, W, 3) uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
