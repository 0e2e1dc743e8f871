"""The paper's own figures (Tables 2 to 13, and what its text says of Figures 4 and 7), to be shown beside ours."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).with_name("paper_tables.json")


@dataclass(frozen=True)
class Column:
    """Says what the numbers of a column are: the data set and the metric."""

    dataset: str
    metric: str


@dataclass(frozen=True)
class Row:
    """Holds a method's numbers, None where the paper has none, and what else the table says of it."""

    method: str
    values: tuple[float | None, ...]
    facts: dict[str, Any]


@cache
def _tables() -> dict[str, Any]:
    return json.loads(TABLES.read_text(encoding="utf-8"))


def _table(number: int | str) -> dict[str, Any]:
    found = _tables().get(str(number))
    if found is None:
        raise ValueError(f"number must be one of the paper's tables {', '.join(_tables())}, got {number}")
    return found


def paper_title(number: int | str) -> str:
    """
    Says what a table is about, in a few words.

    Raises:
        ValueError: no such table.
    """
    return _table(number)["title"]


def paper_columns(number: int | str) -> list[Column]:
    """
    Gives the columns of a table.

    Args:
        number: of a table, or "figure 4" or "figure 7" for the numbers that the text says of these figures.

    Raises:
        ValueError: no such table.
    """
    return [Column(**column) for column in _table(number)["columns"]]


def paper_rows(number: int | str) -> list[Row]:
    """
    Gives the rows of a table.

    Raises:
        ValueError: no such table.
    """
    return [Row(row["method"], tuple(row["values"]), row.get("facts", {})) for row in _table(number)["rows"]]
