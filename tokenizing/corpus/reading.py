"""A corpus as a torch data set: tokens with their captions and labels, normalized, in batches of one size."""

import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from .arrow import import_arrow
from .finishing import STATISTICS, read_records
from .parts import grid_of
from .plan import Plan, read_plan

_OPEN_PARTS = 16


class AtokenTokens(Dataset):
    """
    Reads the rows of a corpus of the parquet format, in any order.

    An item is a dict with "latents", normalized to mean 0 and standard deviation 1 by channel as the statistics of the
    corpus say, (channels, h, w) of an image, (channels, t, h, w) of a video, (N, channels) of an object; or "codes",
    int64 (h, w, codebooks), (t, h, w, codebooks) or (N, codebooks). With moments, "logvar" has the shape of the latents
    and is that of the normalized ones. Objects have "coords" (N, 3) int64. "key" and the kept columns follow.

    Args:
        folder: of the corpus; all of its units must be done.
        normalize: whether latents are normalized.
        transform: is given each item, and gives what takes its place.

    Raises:
        FileNotFoundError: the folder holds no corpus.
        ValueError: the corpus is not complete, or of a format that others read.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        normalize: bool = True,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ):
        self.plan: Plan = read_plan(Path(folder))
        self.options, self.transform = self.plan.options, transform
        if self.options.format != "parquet":
            reader = {"webdataset": "webdataset.WebDataset", "safetensors": "Lightning-DiT's ImgLatentDataset"}
            raise ValueError(
                f"folder must hold a corpus of format parquet, got {self.options.format} in {folder}, which "
                f"{reader[self.options.format]} reads"
            )
        records = read_records(self.plan)
        self._starts = np.cumsum([0, *(record.rows for record in records)])
        self._opened: tuple[int, OrderedDict[int, _Part]] = (os.getpid(), OrderedDict())
        self.mean = self.std = None
        if normalize and self.options.content == "latents":
            self.mean, self.std = _statistics(self.plan)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Any:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"index must be in [0, {len(self)}), got {index}")
        item = self._item(self.row(index))
        return item if self.transform is None else self.transform(item)

    def row(self, index: int) -> dict[str, Any]:
        """Gives the columns of a row as they are stored, codes as an array (tokens * codebooks,), and "unit"."""
        unit = int(np.searchsorted(self._starts, index, side="right")) - 1
        return {"unit": unit, **self._part(unit).row(index - int(self._starts[unit]))}

    def bucket_by_size(self, batch_size: int, seed: int = 0, drop_last: bool = False) -> "SizeBuckets":
        """Gives a `batch_sampler` for a DataLoader: shuffled batches of rows of equal (t, h, w), see `SizeBuckets`."""
        return SizeBuckets(self.sizes(), batch_size, seed, drop_last)

    def sizes(self) -> np.ndarray:
        """Gives the (t, h, w) of all rows, (rows, 3) int64; of an object (tokens, 0, 0)."""
        columns = ["tokens"] if self.options.kind == "object" else ["t", "h", "w"]
        tables = [self._part(unit).columns(columns) for unit in range(len(self._starts) - 1)]
        sizes = np.concatenate([np.stack([table[name] for name in columns], axis=1) for table in tables])
        return np.pad(sizes, ((0, 0), (0, 3 - len(columns)))).astype(np.int64)

    def column(self, name: str) -> list[Any]:
        """Gives a kept column of all rows, without reading their tokens."""
        return [each for unit in range(len(self._starts) - 1) for each in self._part(unit).columns([name])[name]]

    def _part(self, unit: int) -> "_Part":
        # Open files do not survive a fork, as a DataLoader does it.
        if self._opened[0] != os.getpid():
            self._opened = os.getpid(), OrderedDict()
        parts = self._opened[1]
        if unit not in parts:
            parts[unit] = _Part(self.plan.files.part(unit), self.plan.header(unit))
            if len(parts) > _OPEN_PARTS:
                parts.popitem(last=False)
        parts.move_to_end(unit)
        return parts[unit]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (-1, OrderedDict())}

    def _item(self, row: dict[str, Any]) -> dict[str, Any]:
        item = stored_tensors(row, self.plan.facts["model"]["dtype"])
        if self.mean is not None:
            item["latents"] = (item["latents"].float() - self.mean) / self.std
            if "logvar" in item:
                item["logvar"] = item["logvar"].float() - 2 * self.std.log()
        for name in ("latents", "logvar", "codes"):
            if name in item:
                item[name] = self._shaped(item[name].long() if name == "codes" else item[name].float(), name)
        kept = {name: row[name] for name in self.options.keep if name != "key"}
        return {**item, "key": row["key"], **kept}

    def _shaped(self, values: torch.Tensor, name: str) -> torch.Tensor:
        if self.options.kind == "image":
            values = values[0]
        if name == "codes" or self.options.kind == "object":
            return values
        return values.movedim(-1, 0).contiguous()


def stored_tensors(row: dict[str, Any], dtype: str) -> dict[str, torch.Tensor]:
    """
    Gives the tensors of a row of a part as they are stored.

    Args:
        row: column -> value, as `AtokenTokens.row` gives them.
        dtype: of latents or codes, as the plan says.

    Returns:
        "latents" and "logvar" (t, h, w, channels), or "codes" (t, h, w, codebooks); of an object (N, ...) and "coords"
        (N, 3) int64.
    """
    shape, tensors = grid_of(row), {}
    for name in ("latents", "logvar"):
        if row.get(name) is not None:
            values = torch.frombuffer(bytearray(row[name]), dtype=getattr(torch, dtype))
            tensors[name] = values.reshape(row["tokens"], -1).reshape(*shape, -1)
    if row.get("codes") is not None:
        tensors["codes"] = torch.tensor(row["codes"], dtype=getattr(torch, dtype)).reshape(*shape, -1)
    if row.get("coords") is not None:
        tensors["coords"] = torch.frombuffer(bytearray(row["coords"]), dtype=torch.uint8).reshape(-1, 3).long()
    return tensors


def _statistics(plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    path = plan.folder / STATISTICS
    if not path.is_file():
        raise FileNotFoundError(f"folder must hold {STATISTICS}, got {plan.folder} without; tokenize again to write it")
    facts = json.loads(path.read_text(encoding="utf-8"))
    if "mean" not in facts:
        raise ValueError(f"folder must hold tokens, got {plan.folder} without one")
    mean, std = (torch.tensor(facts[name], dtype=torch.float32) for name in ("mean", "std"))
    # A channel that does not vary stays 0.
    return mean, torch.where(std > 0, std, 1.0)


class _Part:
    """
    One parquet file, read by row groups, of which the last one stays in memory.

    Raises:
        ValueError: it is truncated, or of another corpus.
    """

    def __init__(self, path: Path, header: dict[str, Any]):
        pa, pq = import_arrow()
        try:
            self.file = pq.ParquetFile(path, memory_map=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is truncated or damaged: {error}; verify the corpus") from error
        found = json.loads((self.file.schema_arrow.metadata or {}).get(b"atoken", b"{}"))
        if found != header:
            raise ValueError(f"{path} must be of this corpus, got the part of another one")
        groups = range(self.file.metadata.num_row_groups)
        self.starts = np.cumsum([0, *(self.file.metadata.row_group(group).num_rows for group in groups)])
        self._group, self._table = -1, None

    def row(self, place: int) -> dict[str, Any]:
        group = int(np.searchsorted(self.starts, place, side="right")) - 1
        if group != self._group:
            self._group, self._table = group, self.file.read_row_group(group, use_threads=False)
        row = self._table.slice(place - int(self.starts[group]), 1)
        if "codes" not in row.column_names:
            return row.to_pylist()[0]
        # Not as a list: it would be a Python number for each of a video's hundred thousand codes.
        (codes,) = row["codes"]
        values = None if codes.values is None else codes.values.to_numpy()
        return {**row.drop_columns(["codes"]).to_pylist()[0], "codes": values}

    def columns(self, names: list[str]) -> dict[str, np.ndarray]:
        table = self.file.read(columns=names, use_threads=False)
        return {name: table[name].to_numpy() for name in names}


class SizeBuckets(Sampler[list[int]]):
    """
    Yields lists of indices of rows of one size, in an order that the seed and the epoch decide.

    Args:
        sizes: (rows, 3), as `AtokenTokens.sizes`.
        batch_size: rows of a batch.
        seed: of the order.
        drop_last: whether the rows of a size that remain after its last whole batch are left out, others every epoch,
            instead of being a smaller batch. Those of a size of fewer than `batch_size` rows are then never shown; a
            warning says how many.

    Raises:
        ValueError: the batch size is not positive, or rows are left out and no size has enough of them for a batch.
    """

    def __init__(self, sizes: np.ndarray, batch_size: int, seed: int, drop_last: bool):
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.batch_size, self.seed, self.drop_last, self.epoch = batch_size, seed, drop_last, 0
        _, which = np.unique(sizes, axis=0, return_inverse=True)
        self._buckets = [np.flatnonzero(which == bucket) for bucket in range(which.max() + 1 if len(which) else 0)]
        never = sum(len(each) for each in self._buckets if len(each) < batch_size)
        if drop_last and never:
            remedy = "make batches smaller, or give drop_last=False"
            if never == len(sizes):
                most = max(map(len, self._buckets))
                raise ValueError(
                    f"batch_size must be at most {most} with drop_last=True, the rows of the most frequent size, got "
                    f"{batch_size}, so that none of {never:,} rows would be shown; {remedy}"
                )
            warnings.warn(
                f"{never:,} of {len(sizes):,} rows are never shown: fewer than batch_size={batch_size} are of their "
                f"size; {remedy}",
                stacklevel=3,
            )

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; each has an order of its own."""
        self.epoch = epoch

    def __len__(self) -> int:
        full = sum(len(each) // self.batch_size for each in self._buckets)
        return full if self.drop_last else sum(-(-len(each) // self.batch_size) for each in self._buckets)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        batches = []
        for bucket in self._buckets:
            order = rng.permutation(bucket)
            cuts = range(0, len(order), self.batch_size)
            batches += [order[cut : cut + self.batch_size] for cut in cuts]
        if self.drop_last:
            batches = [batch for batch in batches if len(batch) == self.batch_size]
        for place in rng.permutation(len(batches)):
            yield batches[place].tolist()
