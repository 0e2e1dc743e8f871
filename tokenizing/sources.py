"""Where training samples come from: folders, parquet and WebDataset shards, the Hub, prepared objects, drawn worlds.

A source hands out raw examples: a dict with "media" (a path, bytes, or uint8 pixels) and, where there is one,
"caption". Which example comes n-th depends on the seed and n alone, so a run that is stopped goes on exactly where it
was. Sources that can be indexed are shuffled anew in every epoch; streams are shuffled in blocks.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from atoken.miniature.captions import full_caption
from atoken.miniature.world import MiniatureWorld
from atoken.processing.media_reading_atoken import open_image

from .clips import read_frames
from .pans import glide

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".gif"})
PANS_OF_A_PHOTO = 20  # different ones, before they repeat
STREAM_BLOCK = 1000  # examples of a stream that are shuffled among themselves

Load = Callable[[], dict[str, Any]]


class Source(ABC):
    """
    Attributes:
        name: for messages.
        size: its share of a mixture, in samples.
    """

    name: str
    size: float

    @abstractmethod
    def draw(self, number: int) -> Load:
        """The n-th example of this source over all processes; calling what is returned reads it, in any thread."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on behind the example drawn last; nothing, where `number` says all."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        if state:
            raise ValueError(f"{self.name}: the checkpoint is of a stream, which this source is not")


class IndexedSource(Source):
    """
    Examples that can be read in any order.

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
    A streaming data set of Hugging Face `datasets`; every process reads shards, or examples, of its own.

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


def open_source(entry: dict[str, Any], kind: str, seed: int, rank: int = 0, processes: int = 1) -> Source:
    """
    A source from its entry in a data file.

    Args:
        entry: "source" says which (see `_OPENERS`), the other keys
            are those of the function that opens it, see there.
        kind: "image", "video" or "object".

    Raises:
        ValueError: no such source, or arguments that do not fit it.
        FileNotFoundError: no such files.
    """
    options = dict(entry)
    name = options.pop("source", None)
    if name not in _OPENERS:
        raise ValueError(f"source: expected one of {', '.join(_OPENERS)}, got {name!r}")
    try:
        return _OPENERS[name](kind=kind, seed=seed, rank=rank, processes=processes, **options)
    except TypeError as error:
        raise ValueError(f"source {name}: {error}") from error


def _folder(path: str, kind: str, seed: int, size: float | None = None, keep_decoded: bool = False, **_: int) -> Source:
    """
    Files below a folder; the caption is in a .txt file of the same name. With `keep_decoded` all frames of every video
    stay in memory, for sets of a few.
    """
    suffixes = {"image": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES}.get(kind)
    if suffixes is None:
        raise ValueError('a folder holds images or videos; objects are a source of their own, "objects"')
    files = sorted(file for file in _existing(path).rglob("*") if file.suffix.lower() in suffixes)

    @cache
    def decoded(index: int) -> torch.Tensor:
        return read_frames(files[index], lambda total, fps: range(total))

    def read(index: int) -> dict[str, Any]:
        caption = files[index].with_suffix(".txt")
        text = {"caption": caption.read_text(encoding="utf-8")} if caption.is_file() else {}
        return {"media": decoded(index) if keep_decoded and kind == "video" else files[index], **text}

    return IndexedSource(str(path), read, len(files), seed, size)


def _pans(path: str, kind: str, seed: int, size: float | None = None, **_: int) -> Source:
    """Clips drawn from the photos below a folder: a camera glides over them."""
    if kind != "video":
        raise ValueError(f"pans are videos, but a {kind} is wanted")
    photos = _folder(path, "image", seed, size)

    def read(index: int) -> dict[str, Any]:
        rng = np.random.default_rng((seed, index))
        return {"media": glide(open_image(photos.read(index % photos.length)["media"]), rng)}

    return IndexedSource(f"pans over {path}", read, photos.length * PANS_OF_A_PHOTO, seed, size)


def _objects(path: str, kind: str, seed: int, size: float | None = None, **_: int) -> Source:
    """Files written by `prepare_objects` or `prepare_miniature`; the caption is in their metadata."""
    if kind != "object":
        raise ValueError(f"objects were given where a {kind} is wanted")
    files = sorted(_existing(path).rglob("*.safetensors"))

    def read(index: int) -> dict[str, Any]:
        with safe_open(files[index], "pt") as file:
            caption = (file.metadata() or {}).get("caption")
        return {"media": files[index], **({"caption": caption} if caption else {})}

    return IndexedSource(str(path), read, len(files), seed, size)


def _miniature(
    kind: str, seed: int, length: int = 10000, pixels: int = 64, frames: int = 8, size: float | None = None, **_: int
) -> Source:
    """The training split of the miniature world, with captions that say everything."""
    if kind == "object":
        raise ValueError('objects of the miniature world are prepared first (prepare_miniature), then "objects"')
    world = MiniatureWorld(kind, "train", length, seed, pixels, frames)

    def read(index: int) -> dict[str, Any]:
        return {"media": world[index]["sample"], "caption": full_caption(world.describe(index)[0])}

    return IndexedSource(f"miniature {kind}s", read, length, seed, size)


def _streamed(builder: str, files: str | list[str] | None, options: dict[str, Any]) -> Any:
    from datasets import load_dataset

    data_files = {} if files is None else {"data_files": files}
    return load_dataset(builder, **data_files, **options, streaming=True)


def _stream_opener(builder: str | None):
    def open_stream(
        kind: str,
        seed: int,
        rank: int,
        processes: int,
        media: str,
        size: float,
        files: str | list[str] | None = None,
        repo: str | None = None,
        name: str | None = None,
        revision: str | None = None,
        split: str = "train",
        caption: str | None = None,
    ) -> Source:
        """Rows of shards: `media` and `caption` name their columns (in WebDataset, the files' endings)."""
        if (files is None) == (builder is not None) or (repo is None) == (builder is None):
            raise ValueError("expected repo" if builder is None else "expected files")
        options = {"split": split, **({} if name is None else {"name": name})}
        options |= {} if revision is None else {"revision": revision}
        dataset = _streamed(builder or repo, files, options)
        dataset = dataset.decode(False)

        def adapt(row: dict[str, Any]) -> dict[str, Any]:
            for column in filter(None, (media, caption)):
                if column not in row:
                    raise ValueError(f"no column {column!r}; there are {', '.join(row)}")
            text = row[caption] if caption else None
            text = text.decode("utf-8") if isinstance(text, bytes) else text
            return {"media": _raw(row[media]), **({} if text is None else {"caption": text})}

        return StreamSource(str(files or repo), dataset, adapt, seed, size, rank, processes)

    return open_stream


def _raw(value: Any) -> Any:
    """The bytes or the path of media that `datasets` has left undecoded."""
    if isinstance(value, dict) and ("bytes" in value or "path" in value):
        return value["bytes"] if value.get("bytes") is not None else Path(value["path"])
    return value


def _existing(path: str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"path: no folder {folder}")
    return folder


_OPENERS: dict[str, Callable[..., Source]] = {
    "folder": _folder,
    "pans": _pans,
    "parquet": _stream_opener("parquet"),
    "webdataset": _stream_opener("webdataset"),
    "hub": _stream_opener(None),
    "objects": _objects,
    "miniature": _miniature,
}
