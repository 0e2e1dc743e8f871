"""Where commands may write the folder of a model."""

from pathlib import Path

from atoken_headers.model_folders import is_model_folder

from .jobs import check_output_folder


def check_model_output(out: Path, overwrite: bool) -> None:
    """
    Checks that the folder of a model can be written.

    Raises:
        UsageError: `out`, or what it would be created in, is a file.
        ValueError: `out` holds something that is not to be replaced.
    """
    check_output_folder(out)
    replaced = out.is_dir() and any(out.iterdir())
    if replaced and not overwrite:
        raise ValueError(f"OUT: {out} exists and is not empty; use --overwrite to replace it")
    if replaced and not is_model_folder(out):
        raise ValueError(f"OUT: {out} is no AToken model folder, so it is not replaced; remove it or give another")
