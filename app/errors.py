"""How mistakes of a user are told apart from those of the program, and how they are worded."""

from collections.abc import Iterator
from contextlib import contextmanager

# What can be wrong with a file or an option. Anything else is a mistake of ours and keeps its traceback.
EXPECTED_ERRORS = (ValueError, OSError, ImportError)
_LONGEST_MESSAGE = 600


class UsageError(Exception):
    """Says that options or arguments contradict each other: exit code 2, before any work."""


def one_line(error: BaseException) -> str:
    """Gives an exception's message on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Puts the name of an option before what is wrong with its value."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        raise ValueError(f"{option}: {error}") from error
