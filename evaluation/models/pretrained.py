"""Models of other libraries, from a folder or the Hub, with one error for what is not there."""

from typing import Any


def load_pretrained(library_class: Any, path: str, **options: Any) -> Any:
    """
    Loads a model from a local folder, or from the Hub's files on this machine or the Hub itself.

    Raises:
        FileNotFoundError: it is in none of them.
    """
    try:
        return library_class.from_pretrained(path, **options)
    except OSError as error:
        raise FileNotFoundError(
            f"path must be a folder or a name on the Hub with a {library_class.__name__}, got {path!r}, where there is "
            f"none; give a folder, or fetch it: hf download {path}"
        ) from error


def load_model(library_class: Any, path: str, **options: Any) -> Any:
    """
    Loads a model of transformers, with all of its weights from the files: the missing ones would be drawn at random.

    Raises:
        FileNotFoundError: it is nowhere.
        ValueError: weights are missing.
    """
    model, loading = load_pretrained(library_class, path, output_loading_info=True, **options)
    # Buffers without a file are computed.
    missing = sorted({name for name, _ in model.named_parameters()} & set(loading["missing_keys"]))
    if missing:
        raise ValueError(
            f"path must hold all weights of {type(model).__name__}, got {path!r}, which lacks {len(missing)} of them, "
            f"such as {missing[0]}; give a folder where save_pretrained of this very class has written"
        )
    return model
