"""What a corpus is made from: every source is cut into units, and gives the rows of one of them in a fixed order."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atoken.processing.media_suffixes_atoken import IMAGE_SUFFIXES, OBJECT_SUFFIXES, VIDEO_SUFFIXES
from atoken.processing.views_atoken import Views

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES_OF = {"image": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES, "object": OBJECT_SUFFIXES}
Unit = dict[str, Any]
MOST_UNITS = 1_000_000


@dataclass(frozen=True)
class SourceRow:
    """
    Holds one row of a source, its media not decoded.

    Attributes:
        index: its place in the unit.
        key: what it is called.
        media: a file or its bytes, or views of an object that is in no file; None if there is none.
        name: of the file that bytes came from; its suffix says the format of a mesh.
        columns: kept column -> value, None where the row has none.
        error: what is wrong with the row already here.
    """

    index: int
    key: str
    media: Path | bytes | Views | None
    name: str = ""
    columns: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class CorpusSource(ABC):
    """Gives the rows of units."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Describes the source for a plan, JSON-ready; `open_planned` opens it again from this."""

    @abstractmethod
    def units(self, rows: int) -> list[Unit]:
        """Cuts the source into units of `rows` rows, or of files, each described for a plan, JSON-ready."""

    @abstractmethod
    def rows(self, unit: Unit) -> Iterator[SourceRow]:
        """
        Yields the rows of a unit, always the same in the same order.

        Raises:
            ValueError: the unit as a whole is damaged, or is no longer what the plan describes.
        """

    def check_columns(self, kind: str, media: str | None, columns: Iterable[str]) -> None:  # noqa: B027
        """
        Checks that there are the media and columns that rows will be asked for.

        Raises:
            ValueError: naming those that there are.
        """

    def column_type(self, column: str) -> "pa.DataType | None":
        """Tells the type of a column where the source states it."""
        return None


def ranges(total: int, rows: int) -> list[Unit]:
    """
    Cuts `total` rows into units of `rows`.

    Raises:
        ValueError: there are more units than a plan can hold, perhaps as a file announces rows that it does not have.
    """
    if total > rows * MOST_UNITS:
        raise ValueError(f"source must give at most {MOST_UNITS:,} units, got {total:,} rows in units of {rows:,}")
    return [{"first": first, "rows": min(rows, total - first)} for first in range(0, total, rows)]


def checked_columns(values: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Gives kept columns with "label" as integer and "caption" as text, or says what is wrong with them."""
    checked = dict(values)
    for name, value in values.items():
        if isinstance(value, bytes) and name in ("label", "caption", "key"):
            value = value.decode("utf-8", errors="replace")
        if value is None:
            continue
        if name == "label":
            try:
                is_whole = not isinstance(value, bool) and int(value) == float(value)
            except (TypeError, ValueError):
                is_whole = False
            if not is_whole:
                return values, f"label must be an integer, got {value!r}"
            value = int(value)
        elif name in ("caption", "key"):
            value = str(value)
        checked[name] = value
    return checked, None
