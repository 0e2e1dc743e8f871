"""`atoken render`: files of Gaussians to turntables, pictures and pages."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .caught_warnings import caught_warnings
from .console import print_json, say
from .errors import UsageError
from .jobs import check_output_folder
from .loading import chosen_device
from .options import AsJson, Device, DeviceName, Overwrite

SUFFIXES = {
    "--turntable": (".mp4", ".mkv", ".mov", ".webm"),
    "--views": (".png", ".jpg", ".webp"),
    "--page": (".html",),
}


class Up(StrEnum):
    z = "z"
    y = "y"
    minus_y = "-y"


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .ply or .splat file of 3D Gaussians.")],
    turntable: Annotated[
        Path | None,
        typer.Option("--turntable", help="Video file to write: the camera circles the object.", show_default=False),
    ] = None,
    views: Annotated[
        Path | None, typer.Option("--views", help="Picture file to write: 8 views of the object.", show_default=False)
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="HTML file to write: a page where the mouse turns the object.", show_default=False),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", min=16, max=8192, help="Width and height of each view, in pixels.")
    ] = 512,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Number of frames of the turntable.")] = 90,
    fps: Annotated[float, typer.Option("--fps", min=0.001, help="Frame rate of the turntable.")] = 30.0,
    elevation: Annotated[
        float,
        typer.Option(
            "--elevation", min=-89, max=89, help="Height of the turntable's camera above the horizon, in degrees."
        ),
    ] = 20.0,
    up: Annotated[
        Up, typer.Option("--up", help="What is up in FILE: often -y in captured scenes, and y in drawn ones.")
    ] = Up.z,
    background: Annotated[str, typer.Option("--background", help="Background color: a name, or #rrggbb.")] = "black",
    supersampling: Annotated[
        int,
        typer.Option(
            "--supersampling", min=1, max=8, help="Render this many times larger, then average, for smoother edges."
        ),
    ] = 1,
    device: DeviceName = Device.auto,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """
    Render 3D Gaussians, such as `reconstruct` writes for a mesh, to a video, a picture or a page.

    The cameras look at the middle of the object from as far as its size needs;
    a few stray Gaussians far off do not count.
    """
    given = {"--turntable": turntable, "--views": views, "--page": page}
    outputs = {option: path for option, path in given.items() if path is not None}
    if not outputs:
        raise UsageError(f"give at least one of {', '.join(given)}")
    for option, path in outputs.items():
        if path.suffix.lower() not in SUFFIXES[option]:
            raise UsageError(f"{option}: {path} must end in {' or '.join(SUFFIXES[option])}")
        if path.is_dir():
            raise UsageError(f"{option}: {path} is a folder; expected a file")
        check_output_folder(path.parent)
        if path.exists() and not overwrite:
            raise ValueError(f"{option}: {path} exists; use --overwrite to replace it")

    from atoken.pages.gaussians import write_gaussian_page
    from atoken.tokenizing.files import folder_of
    from atoken.tokenizing.pictures import Look, framed

    from .gaussian_pictures import Turntable, load_gaussians, read_color, write_turntable, write_views

    look = Look(size, read_color(background), supersampling)
    with caught_warnings(UserWarning) as warned:
        gaussians = load_gaussians(file)
    for text in warned:
        say(text)
    gaussians = framed(gaussians, up.value).to(device=chosen_device(device))
    if turntable is not None:
        write_turntable(turntable, gaussians, look, Turntable(frames, fps, elevation))
    if views is not None:
        write_views(views, gaussians, look)
    if page is not None:
        with folder_of(page):
            write_gaussian_page(page, gaussians.to("cpu"), title=file.stem)
    for path in outputs.values():
        say(f"{file} -> {path}")
    if as_json:
        written = {option.removeprefix("--"): str(path) for option, path in outputs.items()}
        facts = {"file": str(file), "gaussians": len(gaussians), "device": str(gaussians.device)}
        print_json({**facts, **written, "warnings": warned})
