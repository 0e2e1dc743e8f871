"""Corpora from data sets that the library `datasets` loads: those of the Hub."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shard_sources import check_among, row_of_columns
from .sources import CorpusSource, SourceRow, Unit, ranges

if TYPE_CHECKING:
    import pyarrow as pa


class HubSource(CorpusSource):
    """
    Gives the rows of a data set; it is downloaded once, and then read in any order from memory-mapped files.

    Args:
        repo: its name.
        media: column of the media, which are not decoded here.
        keep: as in `TokenizeOptions`.
        split, subset, revision: of the data set.
    """

    def __init__(
        self, repo: str, media: str, keep: dict[str, str], split: str, subset: str | None, revision: str | None
    ):
        self.repo, self.media, self.keep, self.split, self.subset = repo, media, keep, split, subset
        self.revision = revision
        self.dataset = _load(repo, split, subset, revision)
        self._folders = _folders_of(repo)

    def facts(self) -> dict[str, Any]:
        return {"from": "hub", "repo": self.repo, "rows": len(self.dataset), "columns": self.dataset.column_names}

    def units(self, rows: int) -> list[Unit]:
        return ranges(len(self.dataset), rows)

    def check_columns(self, kind: str, media: str | None, columns: Iterable[str]) -> None:
        check_among(self.dataset.column_names, self.media, columns)

    def column_type(self, column: str) -> "pa.DataType":
        return self.dataset.features.arrow_schema.field(column).type

    def rows(self, unit: Unit) -> Iterator[SourceRow]:
        wanted = self.dataset.select_columns(sorted({self.media, *self.keep.values()}))
        for place in range(unit["rows"]):
            row = unit["first"] + place
            key = f"{self.split}#{row}"
            yield row_of_columns(wanted[row], place, key, self.media, self.keep, self._folders)


def _folders_of(repo: str) -> list[Path]:
    """Where the files of a data set may lie: the repository if it is a local folder, and what the libraries fetched."""
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    local = [Path(repo)] if Path(repo).is_dir() else []
    return [*local, Path(HF_HUB_CACHE), Path(config.HF_DATASETS_CACHE), Path(config.DOWNLOADED_DATASETS_PATH)]


def _load(repo: str, split: str, subset: str | None, revision: str | None) -> Any:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError('data sets of the Hub need datasets: pip install "atoken[corpus]"') from error
    try:
        dataset = load_dataset(repo, subset, split=split, revision=revision)
    except Exception as error:
        # Which error it is depends on the network below; all mean the same here.
        raise FileNotFoundError(
            f"source must be a folder, a list, tars, parquet files or a data set of the Hub, got {repo!r}, which "
            f"cannot be loaded with split {split!r}: {error}"
        ) from error
    for name, feature in dataset.features.items():
        if hasattr(feature, "decode"):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset
