"""Corpora from shards: WebDataset tars and parquet files."""

import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atoken.processing.size_limits_atoken import SizeLimit

from ..shard_samples import medium_of_cell, tar_samples
from .arrow import import_arrow
from .sources import SUFFIXES_OF, CorpusSource, SourceRow, Unit, checked_columns, ranges

if TYPE_CHECKING:
    import pyarrow as pa

_READ_ROWS = 16  # of a parquet file at a time
# Of one file in a tar, which is read as a whole.
SAMPLE_BYTES = SizeLimit("ATOKEN_MAX_SAMPLE_BYTES", 2**32, "bytes")


class TarSource(CorpusSource):
    """
    Gives the samples of tars: files of one name up to its first dot, one after another. Every tar is a unit.

    Columns are endings, such as "txt" and "cls", or "json.NAME" for a field of the .json file.
    """

    def __init__(self, files: list[Path], kind: str, media: str | None, keep: dict[str, str]):
        self.files, self.kind, self.media, self.keep = files, kind, media, keep

    def facts(self) -> dict[str, Any]:
        return {"from": "webdataset", "files": [str(file) for file in self.files]}

    def units(self, rows: int) -> list[Unit]:
        return [{"file": str(file), "bytes": file.stat().st_size, "rows": None} for file in self.files]

    def check_columns(self, kind: str, media: str | None, columns: Iterable[str]) -> None:
        first = next(_samples(self.files[0]), None)
        if first is None:
            raise ValueError(f"source must hold samples, got {self.files[0]} without a file in it")
        endings = first[1]
        if media is not None and media not in endings:
            raise ValueError(f"media must be one of the endings {', '.join(endings)}, got {media!r}")
        if media is None and _media_ending(endings, kind) is None:
            raise ValueError(
                f"source must hold one {kind} a sample, got {self.files[0]} with the endings {', '.join(endings)}; "
                "media names the ending"
            )
        for column in columns:
            if column.partition(".")[0] not in endings:
                raise ValueError(f"keep must be among the endings {', '.join(endings)}, got {column!r}")

    def rows(self, unit: Unit) -> Iterator[SourceRow]:
        check_unchanged(unit)
        _check_end(Path(unit["file"]))
        for index, (key, files) in enumerate(_samples(Path(unit["file"]))):
            ending = self.media or _media_ending(files, self.kind)
            error = None if ending in files else f"the sample has no {self.kind}, but {', '.join(files)}"
            values, problem = checked_columns({name: _field(files, column) for name, column in self.keep.items()})
            key = values.pop("key", None) or key
            yield SourceRow(index, key, files.get(ending), f"{key}.{ending}", values, error or problem)


def _samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key, and ending -> bytes, of each sample of a tar."""
    try:
        # As a stream: a tar may be larger than memory, and lie where seeking is slow.
        with tarfile.open(path, "r|") as tar:
            for key, members in tar_samples(tar):
                yield key, {ending: _content(path, tar, member) for ending, member in members}
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"source: {path} is truncated or no tar: {error}") from error


def _content(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Reads a file of a tar; a sparse one has a few bytes in the tar and any number of zeros."""
    if member.issparse():
        raise ValueError(f"source: {path} must have no sparse files, got {member.name!r}; pack it again")
    SAMPLE_BYTES.check(member.size, f"source: {path}: {member.name!r}")
    return tar.extractfile(member).read()


def _check_end(path: Path) -> None:
    """Refuses a tar that does not end in zeros: one that was cut off between two files reads like a shorter one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - tarfile.BLOCKSIZE))
        end = file.read()
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise ValueError(f"source: {path} is truncated or no tar: it does not end in a block of zeros, as tars do")


def _media_ending(endings: Iterable[str], kind: str) -> str | None:
    """The one ending that is a medium of the kind."""
    fitting = [each for each in endings if f".{each.rpartition('.')[2]}" in SUFFIXES_OF[kind]]
    return fitting[0] if len(fitting) == 1 else None


def _field(files: dict[str, bytes], column: str) -> Any:
    """The text of a file of a sample, or of a field of its .json file."""
    if column in files:
        return files[column].decode("utf-8", errors="replace").strip()
    ending, _, name = column.partition(".")
    if ending not in files or not name:
        return None
    try:
        document = json.loads(files[ending])
    except ValueError:
        return None
    value = document.get(name) if isinstance(document, dict) else None
    return value if value is None or isinstance(value, str) else json.dumps(value)


class ParquetSource(CorpusSource):
    """Gives the rows of parquet files, whose `media` are bytes or a dict of them; a unit is some rows of a file."""

    def __init__(self, files: list[Path], media: str, keep: dict[str, str]):
        self.files, self.media, self.keep = files, media, keep

    def facts(self) -> dict[str, Any]:
        return {"from": "parquet", "files": [str(file) for file in self.files]}

    def units(self, rows: int) -> list[Unit]:
        units = []
        for file in self.files:
            about = {"file": str(file), "bytes": file.stat().st_size}
            units += [{**about, **part} for part in ranges(_open_parquet(file).metadata.num_rows, rows)]
        return units

    def check_columns(self, kind: str, media: str | None, columns: Iterable[str]) -> None:
        check_among(_open_parquet(self.files[0]).schema_arrow.names, self.media, columns)

    def column_type(self, column: str) -> "pa.DataType":
        return _open_parquet(self.files[0]).schema_arrow.field(column).type

    def rows(self, unit: Unit) -> Iterator[SourceRow]:
        check_unchanged(unit)
        path = Path(unit["file"])
        file, first, last = _open_parquet(path), unit["first"], unit["first"] + unit["rows"]
        starts, groups = [0], file.metadata.num_row_groups
        for group in range(groups):
            starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
        wanted = [group for group in range(groups) if starts[group] < last and starts[group + 1] > first]
        columns = sorted({self.media, *self.keep.values()})
        place = starts[wanted[0]]
        for batch in file.iter_batches(_READ_ROWS, row_groups=wanted, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                if first <= place < last:
                    key = f"{path.name}#{place}"
                    yield row_of_columns(row, place - first, key, self.media, self.keep, [path.parent])
                place += 1


def row_of_columns(
    row: dict[str, Any], index: int, key: str, media: str, keep: dict[str, str], folders: Sequence[Path]
) -> SourceRow:
    """
    Makes the row of a table, whose media are what `medium_of_cell` takes.

    Paths are relative to the first of `folders`, and must lead below one of them: a table of a stranger could otherwise
    take any file of this machine into a corpus.
    """
    value, name = medium_of_cell(row[media])
    columns, error = checked_columns({kept: row[column] for kept, column in keep.items()})
    if value is None:
        given = type(row[media]).__name__
        error = error or f"the column {media!r} must hold the bytes or the path of a file, got {given}"
    elif isinstance(value, Path):
        value = folders[0] / value
        real = Path(os.path.realpath(value))
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
            error = error or f"the column {media!r} must name a file below {folders[0]}, got {name!r}"
            value = None
    return SourceRow(index, columns.pop("key", None) or key, value, name, columns, error)


def check_among(known: list[str], media: str, columns: Iterable[str]) -> None:
    """
    Checks that there are the columns that are asked for.

    Raises:
        ValueError: naming those that there are.
    """
    for name, column in [("media", media), *(("keep", column) for column in columns)]:
        if column not in known:
            raise ValueError(f"{name} must be among the columns {', '.join(known)}, got {column!r}")


def check_unchanged(unit: Unit) -> None:
    """
    Checks that the file of a unit has the size that the plan says.

    Raises:
        ValueError: it has another, or is gone.
    """
    path = Path(unit["file"])
    size = path.stat().st_size if path.is_file() else None
    if size != unit["bytes"]:
        given = "nothing" if size is None else f"{size:,} bytes"
        raise ValueError(f"source: {path} must have {unit['bytes']:,} bytes, as when the plan was made, got {given}")


def _open_parquet(path: Path) -> Any:
    pa, pq = import_arrow()
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"source: {path} is truncated or no parquet file: {error}") from error
