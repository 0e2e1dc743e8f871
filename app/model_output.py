"""Where commands may write the folder of a model."""

from collections.abc import Callable
from pathlib import Path

from atoken_headers.model_folders import is_model_folder

from .jobs import check_output_folder


def check_model_output(
    out: Path, overwrite: bool, is_ours: Callable[[Path], bool] = is_model_folder, kind: str = "AToken model folder"
) -> None:
    """
    Checks that the folder of a model can be written.

    Args:
        is_ours: tells which folders may be replaced.
        kind: how an error calls them.

    Raises:
        UsageError: `out`, or what it would be created in, is a file.
        ValueError: `out` holds something that is not to be replaced.
    """
    check_output_folder(out)
    replaced = out.is_dir() and any(out.iterdir())
    if replaced and not overwrite:
        raise ValueError(f"OUT: {out} exists and is not empty; use --overwrite to replace it")
    if replaced and not is_ours(out):
        raise ValueError(f"OUT: {out} is no {kind}, so it is not replaced; remove it or give another")
