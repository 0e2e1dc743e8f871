"""Parts of the page of the whole paper in miniature: a part is one table or figure, made once and kept in a folder.

A folder that is there is whole. It goes by a key of everything that decided it, so that a part of other inputs is not
taken for this one.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from atoken.pages.paper import Shown, TitledTable
from atoken.pages.report import Table
from atoken.tokenizing.files import NewFolder

INDEX = "part.json"


class MissingInput(Exception):
    """Says which input of a part is not there, and how to get it."""


@dataclass(frozen=True)
class Part:
    """
    Holds what was measured for a table or a figure.

    Attributes:
        measured: one sentence or a few on what was measured.
        tables: our numbers.
        shown: pictures and plots.
        protocol: everything that the numbers depend on, a line for each thing.
        missing: what could not be measured, and how it could.
    """

    measured: str
    tables: list[TitledTable] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def write_part(folder: Path, part: Part, key: str) -> None:
    """
    Writes a part, whole or not at all.

    Args:
        folder: that of the part; an older one is replaced.
        part: what was measured.
        key: of everything that decided it.
    """
    with NewFolder(folder) as temporary:
        for index, shown in enumerate(part.shown):
            (temporary / f"{index}.bin").write_bytes(shown.data)
        values = {
            "key": key,
            "measured": part.measured,
            "tables": [asdict(table) for table in part.tables],
            "shown": [{"row": one.row, "description": one.description, "caption": one.caption} for one in part.shown],
            "protocol": part.protocol,
            "missing": part.missing,
        }
        (temporary / INDEX).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_part(folder: Path, key: str | None = None) -> Part | None:
    """
    Reads a part.

    Args:
        folder: that of the part.
        key: that it must have; any if None.

    Returns:
        None if there is no whole part of that key.
    """
    try:
        values = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if key is not None and values["key"] != key:
            return None
        return Part(
            values["measured"],
            [TitledTable(each["title"], Table(**each["table"])) for each in values["tables"]],
            [Shown((folder / f"{index}.bin").read_bytes(), **each) for index, each in enumerate(values["shown"])],
            values["protocol"],
            values["missing"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_unfinished(parts: Path) -> None:
    """Removes folders that a run left half-written when it was killed; their names begin with a dot."""
    for folder in parts.glob(".*"):
        shutil.rmtree(folder, ignore_errors=True)
