"""How readers say what they could not take over from a file."""

import warnings


class MediaWarning(UserWarning):
    """Says what of a file was left out, or was read in another way than its author may have meant, and names it."""


def warn_about_media(message: str) -> None:
    """Warns with a `MediaWarning`; the message names the file, what is the matter and, if there is one, the remedy."""
    warnings.warn(message, MediaWarning, stacklevel=3)
