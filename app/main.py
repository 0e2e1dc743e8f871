"""The `atoken` command: one file for each of its commands.

Torch and the models are imported inside the commands, so that help and mistakes in the options need not wait for them.
"""

import functools
import sys
from collections.abc import Callable

import typer

from .ask_command import ask
from .console import say
from .convert_command import convert
from .decode_command import decode
from .demo_command import demo
from .embed_command import embed
from .encode_command import encode
from .errors import EXPECTED_ERRORS, UsageError, one_line
from .evaluate_command import evaluate
from .export_command import export
from .generate_command import generate
from .info_command import info
from .reconstruct_command import reconstruct
from .render_command import render
from .serve_command import serve
from .tokenize_command import tokenize

COMMANDS = (
    reconstruct,
    encode,
    decode,
    tokenize,
    embed,
    ask,
    render,
    generate,
    evaluate,
    convert,
    export,
    info,
    demo,
    serve,
)

app = typer.Typer(
    help="AToken: one tokenizer for images, videos and 3D objects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Lets expected errors end as one line on standard error: 2 for wrong usage, 1 for the rest."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        try:
            command(*args, **kwargs)
        except UsageError as error:
            say(f"error: {one_line(error)}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error
        except EXPECTED_ERRORS as error:
            say(f"error: {one_line(error)}")
            raise typer.Exit(1) from error

    return run


for command in COMMANDS:
    app.command()(_guarded(command))


def main() -> None:
    """Runs the command that was typed."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
