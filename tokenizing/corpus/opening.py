"""Which source a name stands for."""

import glob
import re
from pathlib import Path

from .file_sources import LIST_SUFFIXES, FolderSource, ListSource
from .hub_source import HubSource
from .options import TokenizeOptions
from .shard_sources import ParquetSource, TarSource
from .sources import CorpusSource

# The column that holds the media where none is named, as data sets of the Hub call it.
_MEDIA_COLUMNS = {"image": "image", "video": "video", "object": "mesh"}
_SHARDS = (".tar", ".parquet")


def open_source(source: str, options: TokenizeOptions) -> CorpusSource:
    """
    Opens what a corpus is made from.

    Args:
        source: a folder of media, of tars or of parquet files; a list of files (.txt, .csv, .jsonl); a tar or a parquet
            file, or a pattern of them; or the name of a data set of the Hub.
        options: say what is asked of it.

    Raises:
        FileNotFoundError: there is no such thing.
        ValueError: it holds nothing of use, or not what the options name.
        ImportError: a package that reads it is not installed.
    """
    opened = _open(source, options)
    opened.check_columns(options.kind, options.media, options.keep.values())
    return opened


def _open(source: str, options: TokenizeOptions) -> CorpusSource:
    path, media = Path(source).absolute(), options.media or _MEDIA_COLUMNS[options.kind]
    files = _shards(source, path)
    if files:
        if {file.suffix for file in files} == {".tar"}:
            return TarSource(files, options.kind, options.media, options.keep)
        if {file.suffix for file in files} == {".parquet"}:
            return ParquetSource(files, media, options.keep)
        raise ValueError(f"source must be tars or parquet files, got {source!r} with both; name one with a pattern")
    if path.is_dir():
        return FolderSource(path, options.kind, options.keep)
    if path.is_file() and path.suffix in LIST_SUFFIXES:
        return ListSource(path, options.keep)
    if path.is_file():
        expected = ", ".join((*LIST_SUFFIXES, *_SHARDS))
        raise ValueError(f"source must be a folder or a file that ends in {expected}, got {source!r}")
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        return HubSource(source, media, options.keep, options.split, options.subset, options.revision)
    raise FileNotFoundError(
        "source must be a folder, a list of files, tars, parquet files or the name of a data set of the Hub, got "
        f"{source!r}, which is none of them"
    )


def _shards(source: str, path: Path) -> list[Path]:
    """Tars and parquet files that a name stands for, in order."""
    if path.is_dir():
        found = list(path.iterdir())
    elif path.is_file():
        found = [path]
    elif glob.has_magic(source):
        found = [Path(match) for match in glob.glob(str(path), recursive=True)]
    else:
        found = []
    return sorted(file for file in found if file.suffix in _SHARDS and not file.name.startswith("."))
