"""Where media come from: folders, parquet and WebDataset shards, and data sets of the Hub, for corpora and training.

A source hands out raw examples: a dict with "media" (a path, bytes, or uint8 pixels) and, where there is one,
"caption". Which example comes n-th depends on the seed and n alone, so work that is stopped goes on exactly where it
was. Sources that can be indexed are shuffled anew in every epoch; streams are shuffled in blocks.
"""

import copy
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

from .clips import read_frames

_NAMED = 10  # files that are passed over by name
STREAM_BLOCK = 1000  # examples of a stream that are shuffled among themselves

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
        """Chooses the n-th example over all processes; calling what is returned reads it, in any thread."""

    def state(self) -> dict[str, Any]:
        """Gives what `restore` needs to go on behind the example drawn last; nothing, where `number` says all."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        if state:
            raise ValueError(f"{self.name}: state must be empty for this source, got that of a stream")


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


class StreamSource(Source):
    """
    Hands out a streaming data set of Hugging Face `datasets`; every process reads shards, or examples, of its own.

    Args:
        dataset: a `datasets.IterableDataset` whose media are not decoded.
        adapt: a row -> an example.
        rank, processes: which part is this process's.
    """

    def __init__(
        self, name: str, dataset: Any, adapt: Callable[[dict], dict], seed: int, size: float, rank: int, processes: int
    ):
        from datasets.distributed import split_dataset_by_node

        self.name, self.size, self.seed, self.adapt = name, float(size), seed, adapt
        self._dataset = split_dataset_by_node(dataset, rank, processes) if processes > 1 else dataset
        self._epoch = self._block = self._place = 0
        self._start: dict[str, Any] | None = None  # of the data set, before the block
        self._rows: list[dict] = []
        self._iterator = iter(self._dataset)

    def draw(self, number: int) -> Load:
        if self._place == len(self._rows):
            self._next_block()
        row = self._rows[self._place]
        self._place += 1
        return lambda: self.adapt(row)

    def _next_block(self) -> None:
        for _ in range(2):
            self._start = copy.deepcopy(self._dataset.state_dict())
            rows = [row for row, _ in zip(self._iterator, range(STREAM_BLOCK), strict=False)]
            if rows:
                break
            self._epoch += 1
            self._dataset.set_epoch(self._epoch)
            self._iterator = iter(self._dataset)
        else:
            raise ValueError(f"{self.name}: there is nothing in it for this process")
        order = np.random.default_rng((self.seed, self._block)).permutation(len(rows))
        self._rows, self._place, self._block = [rows[i] for i in order], 0, self._block + 1

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "block": self._block, "place": self._place, "start": self._start}

    def restore(self, state: dict[str, Any]) -> None:
        self._epoch, self._block, self._rows, self._place = state["epoch"], state["block"], [], 0
        if state["start"] is None:
            return
        self._dataset.set_epoch(self._epoch)
        self._dataset.load_state_dict(state["start"])
        self._iterator = iter(self._dataset)
        self._block -= 1
        self._next_block()
        self._place = state["place"]


# Opens a source, given `kind`, `seed`, `rank`, `processes` and options of its own, all by name.
Opener = Callable[..., Source]
_GIVEN = ("kind", "seed", "rank", "processes")


def open_folder(
    kind: str,
    seed: int,
    rank: int,
    processes: int,
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


def open_parquet(
    kind: str,
    seed: int,
    rank: int,
    processes: int,
    files: str | list[str],
    media: str,
    size: float,
    caption: str | None = None,
    split: str = "train",
) -> StreamSource:
    """Opens rows of parquet files; `media` and `caption` name columns."""
    dataset = _streamed("parquet", data_files=files, split=split)
    return StreamSource(str(files), dataset, _adapter(media, caption), seed, size, rank, processes)


def open_webdataset(
    kind: str,
    seed: int,
    rank: int,
    processes: int,
    files: str | list[str],
    media: str,
    size: float,
    caption: str | None = None,
    split: str = "train",
) -> StreamSource:
    """Opens tars in which an example is files of one name; `media` and `caption` are their endings."""
    dataset = _streamed("webdataset", data_files=files, split=split)
    return StreamSource(str(files), dataset, _adapter(media, caption), seed, size, rank, processes)


def open_hub(
    kind: str,
    seed: int,
    rank: int,
    processes: int,
    repo: str,
    media: str,
    size: float,
    caption: str | None = None,
    split: str = "train",
    name: str | None = None,
    revision: str | None = None,
) -> StreamSource:
    """Opens a data set of the Hub; `media` and `caption` name columns."""
    dataset = _streamed(repo, split=split, name=name, revision=revision)
    return StreamSource(repo, dataset, _adapter(media, caption), seed, size, rank, processes)


def _streamed(builder: str, **options: Any) -> Any:
    from datasets import load_dataset

    return load_dataset(builder, streaming=True, **options).decode(False)


def _adapter(media: str, caption: str | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Makes what turns a row into an example."""

    def adapt(row: dict[str, Any]) -> dict[str, Any]:
        for column in filter(None, (media, caption)):
            if column not in row:
                raise ValueError(f"media and caption must be among the columns {', '.join(row)}, got {column!r}")
        text = row[caption] if caption else None
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return {"media": _raw(row[media]), **({} if text is None else {"caption": text})}

    return adapt


def _raw(value: Any) -> Any:
    """Gives the bytes or the path of media that `datasets` has left undecoded."""
    if isinstance(value, dict) and ("bytes" in value or "path" in value):
        return value["bytes"] if value.get("bytes") is not None else Path(value["path"])
    return value


OPENERS: dict[str, Opener] = {
    "folder": open_folder,
    "parquet": open_parquet,
    "webdataset": open_webdataset,
    "hub": open_hub,
}


def open_source(
    entry: Mapping[str, Any],
    kind: str,
    seed: int,
    rank: int = 0,
    processes: int = 1,
    openers: Mapping[str, Opener] = OPENERS,
) -> Source:
    """
    Opens a source by its entry in a data file.

    Args:
        entry: "source" names one of the openers; the other keys are the options of that function.
        kind: "image", "video" or "object".
        seed: of the order.
        rank, processes: which of so many processes this is.
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
    return openers[name](kind=kind, seed=seed, rank=rank, processes=processes, **options)
