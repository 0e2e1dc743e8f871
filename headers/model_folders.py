"""Folders that hold a model: finding them, and telling of which kind they are."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .shipped import CHECKPOINTS

DEFAULT_MODEL, DISCRETE_MODEL = "atoken-tiny", "atoken-tiny-d"
ANSWERING_MODEL = "atoken-tiny-llava"  # a multimodal language model

# Of a repository of the Hub: neither code nor pickles.
DOWNLOADED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def find_model(name: str) -> tuple[Path, str]:
    """
    Finds the folder of a model, and the name that leads to it again.

    Args:
        name: a folder, an embedded checkpoint's name, or a Hub name, which is downloaded.

    Raises:
        FileNotFoundError: there is no such model.
    """
    return find_folder(name, "config.json")


def find_folder(name: str, *indices: str) -> tuple[Path, str]:
    """
    Finds a folder that has a certain file; otherwise as `find_model`.

    Args:
        indices: the file's name, or several of which one is enough.
    """
    if name and Path(name).is_dir():
        folder = Path(name).resolve()
    elif name and "/" not in name and (CHECKPOINTS / name).is_dir():
        folder = CHECKPOINTS / name
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).exists():
        return _download(name), name
    else:
        raise FileNotFoundError(
            f"model must be a folder, a Hub name or the name of an embedded checkpoint, got {name!r}; "
            f"there is none of that name in {CHECKPOINTS} (a wheel has only {DEFAULT_MODEL} and {DISCRETE_MODEL})"
        )
    if not any((folder / index).is_file() for index in indices):
        raise FileNotFoundError(f"model must be a folder with a {' or '.join(indices)}, got {folder}")
    return folder, folder.name if folder.parent == CHECKPOINTS else str(folder)


def is_embedded(name: str) -> bool:
    """Tells whether this source tree has an embedded checkpoint of a name."""
    return (CHECKPOINTS / name / "config.json").is_file()


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=DOWNLOADED))
    except Exception as error:
        # Which error it is depends on the network below; all mean the same here.
        raise FileNotFoundError(
            f"model must be a folder or a Hub name that can be downloaded, got {name!r}: {error}"
        ) from error


def is_model_folder(folder: Path) -> bool:
    """Tells whether a folder's configuration is that of an AtokenModel."""
    return _model_type(folder) == "atoken"


def is_answering_folder(folder: Path) -> bool:
    """Tells whether a folder's configuration is that of our multimodal language model."""
    return _model_type(folder) == "atoken_llava"


def _model_type(folder: Path) -> Any:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def weight_files(folder: Path) -> list[Path]:
    """
    Lists the weight files of an AToken folder.

    Raises:
        ValueError: the folder is that of another model, or a file is truncated or damaged.
        FileNotFoundError: there are no weights.
    """
    if not is_model_folder(folder):
        raise ValueError(
            f'model must be an AtokenModel (model_type "atoken"), got another one in {folder / "config.json"}'
        )
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"model must have weights (model.safetensors), got none in {folder}")
    for path in weights:
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise ValueError(f"model: {path} is truncated or damaged: {error}") from error
    return weights
