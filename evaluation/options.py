"""Names and options of an entry in a configuration, against what they are for."""

import inspect
from collections.abc import Callable
from typing import Any


def check_options(function: Callable[..., Any], options: dict[str, Any], what: str) -> None:
    """
    Checks the names of options.

    Args:
        what: how an error calls them.

    Raises:
        ValueError: an option that `function` does not take, or one that it needs and is not given.
    """
    signature = inspect.signature(function)
    unknown = [name for name in options if name not in signature.parameters]
    if unknown:
        raise ValueError(f"{what}: options must be those of {signature}, got {', '.join(unknown)}")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(
            f"{what}: options must be those of {signature}, got {', '.join(options) or 'none'}: {error}"
        ) from error


def find(table: dict[str, Callable[..., Any]], name: str, what: str) -> Callable[..., Any]:
    """
    Finds what a name stands for.

    Args:
        what: how an error calls it.

    Raises:
        ValueError: no such name.
    """
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(sorted(table))}, got {name!r}")
    return table[name]
