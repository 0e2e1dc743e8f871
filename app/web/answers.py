"""What a visitor reads when something is wrong, and what readers say about a file."""

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from atoken.processing.media_warnings_atoken import MediaWarning

from ..caught_warnings import caught_warnings
from ..errors import EXPECTED_ERRORS, one_line


def answered(work: Callable[..., Any]) -> Callable[..., Any]:
    """Lets what is wrong with an input, and what readers warn about, appear as messages on the page."""

    @functools.wraps(work)
    def run(*args: Any) -> Any:
        with caught_warnings(MediaWarning) as texts:
            try:
                result = work(*args)
            except EXPECTED_ERRORS as error:
                raise gr.Error(_for_visitors(error, args), duration=None, print_exception=False) from error
            except Exception as error:
                traceback.print_exc(file=sys.stderr)  # for whoever runs the server
                text = "This did not work, and it is not because of the file. Whoever runs this server can read why."
                raise gr.Error(text, duration=None, print_exception=False) from error
        for text in texts:
            gr.Warning(one_line(text))
        return result

    return run


def _for_visitors(error: BaseException, args: tuple[Any, ...]) -> str:
    """Gives the message, in which files have their own names and not places on the server."""
    text = one_line(error)
    for value in args:
        if isinstance(value, str) and Path(value).is_absolute():
            text = text.replace(value, Path(value).name)
    return text
