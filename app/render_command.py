"""`atoken render`: files of Gaussians to turntables, pictures and pages."""

from pathlib import Path
from typing import Annotated

import typer

from .jobs import UsageError, check_output_folder, say
from .options import AsJson, Device, DeviceName, Overwrite
from .tables import print_json

SUFFIXES = {
    "--turntable": (".mp4", ".mkv", ".mov", ".webm"),
    "--views": (".png", ".jpg", ".webp"),
    "--page": (".html",),
}


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Gaussians, as .ply or .splat.")],
    turntable: Annotated[
        Path | None, typer.Option("--turntable", help="A video that goes round the object.", show_default=False)
    ] = None,
    views: Annotated[
        Path | None, typer.Option("--views", help="One picture with 8 views of it.", show_default=False)
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="An .html page to turn it with the mouse.", show_default=False)
    ] = None,
    size: Annotated[int, typer.Option("--size", min=16, max=8192, help="Pixels of a picture's side.")] = 512,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Pictures of the turntable.")] = 90,
    fps: Annotated[float, typer.Option("--fps", min=0.001, help="Frame rate of the turntable.")] = 30.0,
    elevation: Annotated[
        float, typer.Option("--elevation", min=-89, max=89, help="Degrees of the turntable's camera above the horizon.")
    ] = 20.0,
    background: Annotated[str, typer.Option("--background", help="A colour: a name, or #rrggbb.")] = "black",
    supersampling: Annotated[
        int, typer.Option("--supersampling", min=1, max=8, help="Rendered this many times larger, then averaged.")
    ] = 1,
    device: DeviceName = Device.auto,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Look at Gaussians, such as `reconstruct` writes for a mesh: a turntable, a picture of views, a page."""
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
    from atoken.tokenizing.streams import resolve_device

    from .gaussian_pictures import Look, load_gaussians, make_pictures, read_color

    look = Look(size, read_color(background), supersampling, frames, fps, elevation)
    gaussians = load_gaussians(file).to(device=resolve_device(device))
    make_pictures(gaussians, turntable, views, page, look, title=file.stem)
    for path in outputs.values():
        say(f"{file} -> {path}")
    if as_json:
        written = {option.removeprefix("--"): str(path) for option, path in outputs.items()}
        print_json({"file": str(file), "gaussians": len(gaussians), "device": str(gaussians.device), **written})
