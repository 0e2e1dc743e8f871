"""`atoken serve`: a web page on which visitors try models on their own files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from atoken_headers.generator_folders import (
    embedded_generators,
    embedded_object_generators,
    embedded_text_generators,
)
from atoken_headers.model_folders import ANSWERING_MODEL, DEFAULT_MODEL, DISCRETE_MODEL, is_embedded
from atoken_headers.shipped import EXAMPLE_MEDIA

from .console import say
from .errors import naming
from .loading import chosen_device
from .options import Device, DeviceName


def serve(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Model or generator to show: folder, Hub name, or name of an embedded checkpoint; may be repeated. "
            "Default: all embedded ones.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Default: the first free one from 7860 on.", show_default=False),
    ] = None,
    megabytes: Annotated[int, typer.Option("--max-megabytes", min=1, help="Largest file that is taken.")] = 32,
    frames: Annotated[int, typer.Option("--max-frames", min=1, help="Frames of a video, at most.")] = 128,
    seconds: Annotated[float, typer.Option("--time-limit", min=1, help="Seconds of work on one request.")] = 120.0,
    waiting: Annotated[int, typer.Option("--queue", min=1, help="Requests that may wait; more are refused.")] = 16,
    device: DeviceName = Device.auto,
) -> None:
    """
    Serve a web page that shows what models do with one's own files.

    It reconstructs pictures, videos and meshes, compares them with texts,
    generates images, and answers questions. One request is worked on at a time, the others wait.
    Uploads are removed after half an hour. Ctrl-C ends it.
    """
    target = chosen_device(device)
    try:
        from .web.limits import Limits
        from .web.places import Places
        from .web.server import build_app, launch
        from .web.shelf import Shelf
    except ImportError as error:
        raise ImportError(f'atoken serve needs gradio: pip install "atoken[demo]" ({error})') from error

    generators = [*embedded_generators(), *embedded_text_generators(), *embedded_object_generators()]
    names = models or [DEFAULT_MODEL, DISCRETE_MODEL, *generators]
    if not models and is_embedded(ANSWERING_MODEL):
        names.append(ANSWERING_MODEL)
    with naming("--model"):
        shelf = Shelf.of(names, target)
    limits = Limits(megabytes=megabytes, frames=frames, seconds=seconds, waiting=waiting)
    with TemporaryDirectory(prefix="atoken-serve-") as folder:
        places = Places(Path(folder))
        examples = (
            sorted(path for path in EXAMPLE_MEDIA.glob("*") if path.suffix != ".md") if EXAMPLE_MEDIA.is_dir() else []
        )
        app = build_app(shelf, limits, places, examples)
        address = launch(app, limits, places, host, port, block=False)
        say(f"serving at {address} until Ctrl-C")
        app.block_thread()
