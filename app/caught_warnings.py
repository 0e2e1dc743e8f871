"""What readers warn about, kept for the output of a command."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def caught_warnings(category: type[Warning]) -> Iterator[list[str]]:
    """
    Puts the texts of warnings of a category into a list, each text once, in place of showing them; others are shown as
    usual. Clearing the list begins anew.
    """
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", category)
        show = warnings.showwarning

        def keep(message, kind, *place, **options):
            if not issubclass(kind, category):
                show(message, kind, *place, **options)
            elif str(message) not in texts:
                texts.append(str(message))

        warnings.showwarning = keep
        yield texts
