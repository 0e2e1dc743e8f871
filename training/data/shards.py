"""Sources of training that lie in shards: WebDataset tars, parquet files, and data sets of the Hub.

Any example is read by its number, so a stream needs no state: runs go on where they were, with any number of processes.
Of a tar every example's own bytes are read, once an epoch by all processes together. Of a parquet file a row group is
read by each process that needs one of its rows; where samples cost the same, neighbors need the same ones.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from atoken.tokenizing.shard_samples import medium_of_cell

from .shard_order import ShardSource
from .tar_index import matching_files, read_index, write_index

GROUP = 64  # neighboring examples of a tar that stay together
_OPEN_TARS, _ROW_GROUPS = 64, 2  # that a process keeps


def open_webdataset(
    kind: str,
    seed: int,
    files: str | list[str],
    media: str,
    size: float | None = None,
    caption: str | None = None,
    index: str | None = None,
) -> ShardSource:
    """
    Opens tars in which an example is files of one name; `media` and `caption` are their endings.

    Their index is in the folder `index`, or made beside the first tar and found again while the tars stay as they are.
    Where several processes make it at once, all take the one that is done first.
    """
    if index is not None and Path(index).exists():
        folder = Path(index)
    else:
        tars = matching_files(files)
        folder = _index_beside(tars, media, caption) if index is None else Path(index)
        if not folder.exists():
            try:
                write_index(folder, tars, media, caption, keep=True)
            except PermissionError as error:
                raise ValueError(f"index must be a folder that can be written, got {folder}: {error}") from error
    shards, counts, examples = read_index(folder, media, caption)

    @lru_cache(_OPEN_TARS)
    def opened(shard: int) -> "_OpenFile":
        return _OpenFile(shards[shard])

    def read(place: int) -> dict[str, Any]:
        row = examples[place]
        file = opened(int(row["shard"]))
        example: dict[str, Any] = {"media": file.read(int(row["media"]), int(row["media_bytes"]))}
        if row["caption_bytes"] >= 0:
            example["caption"] = file.read(int(row["caption"]), int(row["caption_bytes"])).decode("utf-8")
        return example

    def side(places: np.ndarray) -> np.ndarray:
        return examples["side"][places].astype(np.float64)

    lengths = np.concatenate([_groups(count) for count in counts])
    return ShardSource(str(files), read, lengths, seed, size, side)


def _index_beside(tars: list[Path], media: str, caption: str | None) -> Path:
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tars]
    code = hashlib.sha256(repr((facts, media, caption)).encode()).hexdigest()[:16]
    return tars[0].parent / f".atoken-index-{code}"


def _groups(count: int) -> np.ndarray:
    """Cuts the examples of one tar into groups."""
    whole, rest = divmod(count, GROUP)
    return np.array([GROUP] * whole + ([rest] if rest else []), dtype=np.int64)


class _OpenFile:
    """Reads parts of a file, which closes with it."""

    def __init__(self, path: Path):
        self._path, self._handle = path, os.open(path, os.O_RDONLY)

    def read(self, offset: int, count: int) -> bytes:
        found = os.pread(self._handle, count, offset)
        if len(found) != count:
            raise ValueError(f"tar must be as it was indexed, got {self._path}, which is shorter; index it again")
        return found

    def __del__(self):
        os.close(self._handle)


def open_parquet(
    kind: str,
    seed: int,
    files: str | list[str],
    media: str,
    size: float | None = None,
    caption: str | None = None,
) -> ShardSource:
    """Opens rows of parquet files; `media` and `caption` name columns."""
    return _rows([str(path) for path in matching_files(files)], str(files), media, caption, seed, size)


def open_hub(
    kind: str,
    seed: int,
    repo: str,
    media: str,
    size: float | None = None,
    caption: str | None = None,
    split: str = "train",
    name: str | None = None,
    revision: str | None = None,
) -> ShardSource:
    """Opens the parquet files of a data set of the Hub, or of a local copy; `media` and `caption` name columns."""
    from datasets import load_dataset_builder

    found = load_dataset_builder(repo, name, revision=revision).config.data_files or {}
    files = {str(each): paths for each, paths in found.items()}
    if split not in files:
        raise ValueError(f"split must be one of {', '.join(files) or 'none'} of {repo}, got {split!r}")
    others = [each for each in files[split] if not str(each).endswith(".parquet")]
    if others:
        raise ValueError(
            f"repo must have parquet files, got {repo} with {others[0]}; the Hub's branch refs/convert/"
            "parquet may have them: revision: refs/convert/parquet"
        )
    return _rows([str(each) for each in files[split]], repo, media, caption, seed, size)


def _rows(files: list[str], label: str, media: str, caption: str | None, seed: int, size: float | None) -> ShardSource:
    import pyarrow.parquet as pq
    from fsspec.core import url_to_fs

    columns = [column for column in (media, caption) if column]

    def opened(file: str) -> Any:
        system, path = url_to_fs(file)
        return pq.ParquetFile(system.open(path))

    groups: list[tuple[str, int]] = []
    lengths: list[int] = []
    for file in files:
        with opened(file) as parquet:
            missing = [column for column in columns if column not in parquet.schema_arrow.names]
            if missing:
                names = ", ".join(parquet.schema_arrow.names)
                raise ValueError(f"media and caption must be among the columns {names}, got {missing[0]!r}")
            counts = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        groups += [(file, group) for group, count in enumerate(counts) if count]
        lengths += [count for count in counts if count]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    @lru_cache(_ROW_GROUPS)
    def rows(group: int) -> Any:
        file, place = groups[group]
        with opened(file) as parquet:
            return parquet.read_row_group(place, columns)

    def read(index: int) -> dict[str, Any]:
        group = int(np.searchsorted(starts, index, side="right")) - 1
        row = rows(group).slice(index - int(starts[group]), 1).to_pylist()[0]
        medium, _ = medium_of_cell(row[media])
        if medium is None:
            raise ValueError(f"the column {media!r} must hold media, got {type(row[media]).__name__}")
        text = row[caption] if caption else None
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return {"media": medium, **({} if text is None else {"caption": text})}

    return ShardSource(label, read, np.array(lengths, dtype=np.int64), seed, size)
