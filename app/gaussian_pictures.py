"""Files of Gaussians to pictures and turntables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ImageColor

from atoken.gaussian_files_atoken import load_ply, load_splat
from atoken.gaussians_atoken import Gaussians
from atoken.processing.cameras_atoken import Cameras, hammersley_cameras, turntable_cameras
from atoken.processing.media_writing_atoken import write_image, write_video
from atoken.tokenizing.files import folder_of
from atoken.tokenizing.pictures import Look, iter_pictures

from .console import progress_bar
from .errors import UsageError

LOADERS: dict[str, Callable[[Path], Gaussians]] = {".ply": load_ply, ".splat": load_splat}
# Other files of Gaussians; all of these programs write .ply too.
_OTHERS = (".ksplat", ".sog", ".sogs", ".spz")
VIEWS, COLUMNS = 8, 4
# The renderer leaves out what is more transparent.
_LEAST_OPACITY = 1 / 255


def load_gaussians(path: Path) -> Gaussians:
    """
    Reads the Gaussians of a .ply or .splat file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another suffix, is damaged, or holds nothing that can be seen.
    """
    if not path.is_file():
        raise FileNotFoundError(f"FILE: {path} does not exist")
    if path.suffix.lower() in _OTHERS:
        raise ValueError(
            f"FILE: {path} must end in {' or '.join(LOADERS)}; {path.suffix} files are not read. Convert it to .ply, "
            "for example with SuperSplat or PlayCanvas' splat-transform"
        )
    if path.suffix.lower() not in LOADERS:
        raise ValueError(f"FILE: {path} must end in {' or '.join(LOADERS)}; `atoken reconstruct` makes one of a mesh")
    gaussians = LOADERS[path.suffix.lower()](path)
    if not len(gaussians):
        raise ValueError(f"FILE: {path} holds no Gaussians")
    if gaussians.opacities.max() < _LEAST_OPACITY:
        raise ValueError(
            f"FILE: {path} shows nothing: all {len(gaussians)} Gaussians are transparent, with opacities below 1/255"
        )
    return gaussians


def read_color(text: str) -> tuple[float, float, float]:
    """
    Reads a name or #rrggbb as red, green and blue in [0, 1].

    Raises:
        UsageError: the text is no color.
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(f"--background: got {text!r}; expected a color, such as white or #202020") from error
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True)
class Turntable:
    """Says how a camera goes round an object: pictures of a turn, pictures a second, degrees above the horizon."""

    frames: int = 90
    fps: float = 30.0
    elevation: float = 20.0


def write_turntable(path: Path, gaussians: Gaussians, look: Look, turn: Turntable) -> None:
    """Writes a video that goes round the object; an existing file is replaced."""
    cameras = turntable_cameras(turn.frames, turn.elevation)
    with folder_of(path):
        write_video(path, _rendered(gaussians, cameras, look), turn.fps)


def write_views(path: Path, gaussians: Gaussians, look: Look) -> None:
    """Writes one picture with 8 views of the object; an existing file is replaced."""
    pictures = list(_rendered(gaussians, hammersley_cameras(VIEWS), look))
    rows = [np.concatenate(pictures[start : start + COLUMNS], axis=1) for start in range(0, VIEWS, COLUMNS)]
    with folder_of(path):
        write_image(path, np.concatenate(rows))


def _rendered(gaussians: Gaussians, cameras: Cameras, look: Look) -> Iterator[np.ndarray]:
    """Renders the pictures; a `ValueError` at their end, so that no file is written, if nothing is seen in any."""
    empty = (np.asarray(look.background) * 255).round().astype(np.uint8)
    blank = True
    with progress_bar() as progress:
        pictures = iter_pictures(gaussians, cameras, look)
        for picture in progress.track(pictures, total=len(cameras), description="rendering"):
            blank = blank and bool((picture == empty).all())
            yield picture
    if blank:
        raise ValueError(f"FILE: nothing is seen from any side: {_why_blank(gaussians, look)}")


def _why_blank(gaussians: Gaussians, look: Look) -> str:
    colors, background = gaussians.rgb.clamp(0, 1).cpu(), torch.tensor(look.background)
    if (colors - background).abs().max() < 1 / 255:
        return "all Gaussians have the color of the background; give another --background"
    pixel = 2 / look.size
    if gaussians.scales.max() < pixel / 10:
        return "all Gaussians are far smaller than a pixel; give a larger --size"
    return "all Gaussians are too thin, too transparent or behind the cameras"
