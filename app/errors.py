"""How mistakes of a user are told apart from those of the program, and how they are worded."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What can be wrong with a file or an option. Anything else is a mistake of ours and keeps its traceback, but for one
# file of many: it must not end the work on the others.
EXPECTED_ERRORS = (ValueError, OSError, ImportError)
_LONGEST_MESSAGE = 600


class UsageError(Exception):
    """Says that options or arguments contradict each other: exit code 2, before any work."""


def one_line(error: BaseException) -> str:
    """Gives an exception's message on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def described(error: Exception) -> str:
    """Gives the message of what went wrong with one file of many; of an unexpected error also its type and place."""
    if isinstance(error, EXPECTED_ERRORS) or type(error).__name__ == "OutOfMemoryError":
        return one_line(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = one_line(error)
    return f"unexpected {type(error).__name__}: {text} ({Path(place.filename).name}, line {place.lineno})"


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Puts the name of an option before what is wrong with its value."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        raise ValueError(f"{option}: {error}") from error
