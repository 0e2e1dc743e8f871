"""Models of other libraries, from a folder or the Hub, with one error for what is not there."""

from typing import Any


def load_pretrained(library_class: Any, path: str, **options: Any) -> Any:
    """
    A model from a local folder, or from the Hub's files on this machine or the Hub itself.

    Raises:
        FileNotFoundError: it is in none of them.
    """
    try:
        return library_class.from_pretrained(path, **options)
    except OSError as error:
        raise FileNotFoundError(
            f"path: there is no {library_class.__name__} at {path!r}; give a folder, or fetch it: hf download {path}"
        ) from error
