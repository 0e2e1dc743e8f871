"""Prepared objects in tars, as `prepare_object_shards` writes them: read by place, and only what a task needs.

A shard is a tar of two files an object. NAME.safetensors has its tokens: `coords` (N, 3) and `rgb` (N, 768), uint8.
NAME.views.safetensors has its views: `pictures`, PNG files one after another, `starts` (K + 1,), where each of them
begins, `world_to_camera` (K, 4, 4) and `intrinsics` (K, 3, 3). Beside the tar is a .json of the same name, which says
where in the tar each object is, and what it shows.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, load_file

from .sources import IndexedSource, existing_folder

SHARD = "objects-*.json"
TOKENS, VIEWS = ("coords", "rgb"), ("images", "world_to_camera", "intrinsics")


class EncodedPictures:
    """
    Holds pictures of one size as PNG files, and decodes those that are looked at.

    Args:
        pictures: (bytes,) uint8, all files.
        starts: (K + 1,) where each begins, and the end.
    """

    def __init__(self, pictures: torch.Tensor, starts: torch.Tensor):
        self._bytes, self._starts = pictures.numpy(), starts.tolist()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Decodes pictures (k,): (k, 3, S, S) uint8."""
        return torch.stack([self._decode(index) for index in indices.tolist()])

    def _decode(self, index: int) -> torch.Tensor:
        with Image.open(io.BytesIO(self._bytes[self._starts[index] : self._starts[index + 1]].tobytes())) as picture:
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def encode_pictures(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Encodes (K, 3, S, S) uint8 as PNG files: `pictures` and `starts`, see `EncodedPictures`."""
    files = []
    for image in images:
        target = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(target, "PNG")
        files.append(target.getvalue())
    starts = torch.tensor([0, *map(len, files)]).cumsum(0)
    return {"pictures": torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8), "starts": starts}


@dataclass(frozen=True)
class StoredObject(Mapping[str, Any]):
    """
    Reads an object of a shard as if its tensors lay in a dict; what nobody asks for is never read.

    Attributes:
        shard: the tar.
        tokens, views: first byte and number of bytes of both files.
    """

    shard: Path
    tokens: tuple[int, int]
    views: tuple[int, int]

    def __getitem__(self, name: str) -> Any:
        if name in TOKENS:
            return self._tokens[name]
        if name == "images":
            return EncodedPictures(self._views["pictures"], self._views["starts"])
        if name in VIEWS:
            return self._views[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*TOKENS, *VIEWS))

    def __len__(self) -> int:
        return len(TOKENS) + len(VIEWS)

    @cached_property
    def _tokens(self) -> dict[str, torch.Tensor]:
        return self._tensors(*self.tokens)

    @cached_property
    def _views(self) -> dict[str, torch.Tensor]:
        return self._tensors(*self.views)

    def _tensors(self, start: int, size: int) -> dict[str, torch.Tensor]:
        with undamaged(f"{self.shard} at byte {start}"):
            return load(self._read(start, size))

    def _read(self, start: int, size: int) -> bytes:
        with open(self.shard, "rb") as file:
            file.seek(start)
            content = file.read(size)
        if len(content) < size:
            raise ValueError(f"shards must be whole, got {self.shard}, which ends early; prepare it again")
        return content


@contextmanager
def undamaged(name: str) -> Iterator[None]:
    """
    Reads a prepared object within, and says which one it is if that fails.

    Raises:
        ValueError: in place of safetensors' own error, as of other media that are damaged.
    """
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"objects must be whole, got {name}, which is not ({error}); prepare it again") from error


def open_object(media: Any) -> Mapping[str, Any]:
    """
    Opens a prepared object: of a shard, of a file, or of a file's bytes.

    Raises:
        ValueError: it is damaged; an object of a shard says so when its tensors are asked for.
    """
    if isinstance(media, StoredObject):
        return media
    with undamaged("one that is given as bytes" if isinstance(media, bytes) else str(media)):
        return load(media) if isinstance(media, bytes) else load_file(media)


def open_object_shards(kind: str, seed: int, path: str, size: float | None = None) -> IndexedSource:
    """
    Opens what `prepare_object_shards` has written so far below a folder, with captions.

    Raises:
        ValueError: another kind than "object", or a folder without a finished shard.
    """
    if kind != "object":
        raise ValueError(f'kind must be "object" for shards of objects, got {kind!r}')
    # Two numbers for each object: a corpus has a million of them.
    shards, places, captions = [], [], []
    for file in sorted(existing_folder(path).rglob(SHARD)):
        index = json.loads(file.read_text(encoding="utf-8"))
        for entry in index["objects"]:
            places.append((len(shards), *entry["tokens"], *entry["views"]))
            captions.append(entry.get("caption"))
        shards.append(file.with_suffix(".tar"))
    table = np.array(places, dtype=np.int64).reshape(-1, 5)

    def read(index: int) -> dict[str, Any]:
        shard, *ranges = table[index].tolist()
        media = StoredObject(shards[shard], (ranges[0], ranges[1]), (ranges[2], ranges[3]))
        return {"media": media, **({"caption": captions[index]} if captions[index] else {})}

    return IndexedSource(str(path), read, len(table), seed, size)
