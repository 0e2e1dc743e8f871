"""The terminal of the application: results on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# Everything a user reads while waiting goes here, so that standard output holds results only.
STDERR = Console(stderr=True)


def say(message: str) -> None:
    """Prints a line on standard error, never wrapped, so that scripts can search it."""
    STDERR.print(message, markup=False, highlight=False, soft_wrap=True)


def standard_output() -> Console:
    """Gives standard output; through a pipe wide enough that no name is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_json(value: Any) -> None:
    """Prints JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Shows a bar on standard error, only where somebody can see it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=STDERR, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress
