"""Where media of training come from: what all sources have in common, and folders.

A source hands out raw examples: a dict with "media" (a path, bytes, or uint8 pixels) and, where there is one,
"caption". Which example comes n-th depends on the seed and n alone, so work that is stopped goes on exactly where it
was, in any number of processes. Every epoch has a new order.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atoken.processing.media_reading_atoken import open_image
from atoken.processing.media_suffixes_atoken import media_kind
from atoken.processing.media_warnings_atoken import warn_about_media
from atoken.tokenizing.clips import read_frames

_NAMED = 10  # files that are passed over by name

Load = Callable[[], dict[str, Any]]


class Source(ABC):
    """
    Hands out examples.

    Attributes:
        name: for messages.
        size: its share of a mixture, in samples.
    """

    name: str
    size: float

    @abstractmethod
    def draw(self, number: int) -> Load:
        """Chooses the n-th example; calling what is returned reads it."""


class IndexedSource(Source):
    """
    Hands out examples that can be read in any order.

    Args:
        read: index -> example.
        length: how many there are.
    """

    def __init__(self, name: str, read: Callable[[int], dict[str, Any]], length: int, seed: int, size: float | None):
        if length < 1:
            raise ValueError(f"{name}: there is nothing in it")
        self.name, self.read, self.length, self.seed = name, read, length, seed
        self.size = float(length if size is None else size)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def draw(self, number: int) -> Load:
        epoch, place = divmod(number, self.length)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.length)
        index = int(self._order[1][place])
        return lambda: self.read(index)


# Opens a source, given `kind`, `seed` and options of its own, all by name.
Opener = Callable[..., Source]
_GIVEN = ("kind", "seed")


def open_folder(
    kind: str,
    seed: int,
    path: str,
    size: float | None = None,
    keep_decoded: bool = False,
) -> IndexedSource:
    """
    Opens the images, or the videos and animated pictures, below a folder.

    The caption is in a .txt file of the same name; a `MediaWarning` names files that are no media and no captions. With
    `keep_decoded` all frames of every video stay in memory, for sets of a few.
    """
    if kind not in ("image", "video"):
        raise ValueError(f'kind must be "image" or "video" for a folder, got {kind!r}')
    files, others = [], []
    for file in sorted(existing_folder(path).rglob("*")):
        found = media_kind(file)
        if found == kind:
            files.append(file)
        elif found is None and file.suffix != ".txt" and not file.name.startswith(".") and file.is_file():
            others.append(file.name)
    if others:
        names = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
        warn_about_media(f"{path}: files with other suffixes are passed over, {len(others)} of them: {names}")

    @cache
    def decoded(index: int) -> torch.Tensor:
        return open_image(files[index]) if kind == "image" else read_frames(files[index], lambda total, _: range(total))

    def read(index: int) -> dict[str, Any]:
        caption = files[index].with_suffix(".txt")
        text = {"caption": caption.read_text(encoding="utf-8")} if caption.is_file() else {}
        return {"media": decoded(index) if keep_decoded else files[index], **text}

    return IndexedSource(str(path), read, len(files), seed, size)


def existing_folder(path: str) -> Path:
    """
    Gives the path of a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"path: there is no folder {folder}")
    return folder


def open_source(
    entry: Mapping[str, Any],
    kind: str,
    seed: int,
    openers: Mapping[str, Opener],
) -> Source:
    """
    Opens a source by its entry in a data file.

    Args:
        entry: "source" names one of the openers; the other keys are the options of that function.
        kind: "image", "video" or "object".
        seed: of the order.
        openers: name -> function.

    Raises:
        ValueError: there is no such source, or its options do not fit.
        FileNotFoundError: its files are missing.
    """
    options = dict(entry)
    name = options.pop("source", None)
    if name not in openers:
        raise ValueError(f"source must be one of {', '.join(openers)}, got {name!r}")
    parameters = {key: each for key, each in inspect.signature(openers[name]).parameters.items() if key not in _GIVEN}
    unknown = [key for key in options if key not in parameters]
    if unknown:
        raise ValueError(f"source {name}: options must be among {', '.join(parameters)}, got {', '.join(unknown)}")
    missing = [key for key, each in parameters.items() if each.default is each.empty and key not in options]
    if missing:
        raise ValueError(f"source {name}: {', '.join(missing)} must be given, got {', '.join(options) or 'no options'}")
    return openers[name](kind=kind, seed=seed, **options)
