"""Folders that hold a generator's pipeline: finding them without torch."""

import json
from pathlib import Path

from . import model_folders

LIGHTNING_DIT, TOKEN_BRIDGE = "lightning-dit-tiny", "token-bridge-tiny"  # the embedded ones, of classes
TEXT_TO_MEDIA = "text-to-media-tiny"  # the embedded one of texts
IMAGE_TO_OBJECT = "image-to-object-tiny"  # the embedded one of pictures
INDEX = "model_index.json"


def embedded_generators() -> list[str]:
    """Lists the embedded generators of classes that this source tree has."""
    names = (LIGHTNING_DIT, TOKEN_BRIDGE)
    return [name for name in names if is_generator_folder(model_folders.CHECKPOINTS / name)]


def embedded_text_generators() -> list[str]:
    """Lists the embedded generators of texts that this source tree has."""
    return [TEXT_TO_MEDIA] if is_generator_folder(model_folders.CHECKPOINTS / TEXT_TO_MEDIA) else []


def embedded_object_generators() -> list[str]:
    """Lists the embedded generators of pictures that this source tree has."""
    return [IMAGE_TO_OBJECT] if is_generator_folder(model_folders.CHECKPOINTS / IMAGE_TO_OBJECT) else []


def find_generator(name: str) -> tuple[Path, str]:
    """
    Finds the folder of a generator's pipeline, and the name that leads to it again.

    Args:
        name: a folder, an embedded generator's name, or a Hub name, which is downloaded.

    Raises:
        FileNotFoundError: there is no such generator.
    """
    return model_folders.find_folder(name, INDEX)


def is_generator_folder(folder: Path) -> bool:
    """Tells whether a folder holds a pipeline of diffusers."""
    return (folder / INDEX).is_file()


def pipeline_class(folder: Path) -> str | None:
    """
    Gives the name of the class of a pipeline's folder.

    Raises:
        ValueError: its index cannot be read.
    """
    try:
        name = json.loads((folder / INDEX).read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"model: {folder / INDEX} cannot be read: {error}") from error
    return name[-1] if isinstance(name, list) and name else name  # with the code of a Hub repository it is a pair


def local_generator(name: str) -> Path | None:
    """Gives the folder of a generator on this machine, by its path or its embedded name; None if there is none."""
    places = [Path(name)] if "/" in name else [Path(name), model_folders.CHECKPOINTS / name]
    return next((place for place in places if is_generator_folder(place)), None)
