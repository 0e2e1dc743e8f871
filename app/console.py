"""The terminal of the application: results on standard output, everything else on standard error."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# Everything a user reads while waiting goes here, so that standard output holds results only.
STDERR = Console(stderr=True)


# Control characters but for tabs and newlines, marks that turn the direction of writing around, and bytes of file names
# that are no UTF-8, which cannot be written.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Writes what a terminal would obey, such as the escapes in a file's name, as visible escapes."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def say(message: str) -> None:
    """Prints a line on standard error, never wrapped, so that scripts can search it."""
    STDERR.print(printable(message), markup=False, highlight=False, soft_wrap=True)


def tell(message: str) -> None:
    """Prints a line on standard output, never wrapped."""
    standard_output().print(printable(message), markup=False, highlight=False, soft_wrap=True)


def standard_output() -> Console:
    """Gives standard output; through a pipe wide enough that no name is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_json(value: Any) -> None:
    """Prints JSON on standard output; what a terminal would obey is escaped in it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    typer.echo(_UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Shows a bar on standard error, only where somebody can see it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=STDERR, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress
