"""What makes a unit done: its part, then its sidecar, each whole on the disk before it has its name."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .statistics import TokenStatistics

SUFFIXES = {"parquet": ".parquet", "webdataset": ".tar", "safetensors": ".safetensors"}


class TornSidecar(ValueError):
    """Says that a sidecar is not what was written."""


class LostUnit(Exception):
    """Says that another worker has taken a unit over, as this one was not heard of for long, and removed its work."""


@dataclass
class UnitRecord:
    """
    Holds what a sidecar says of a unit.

    Attributes:
        unit: its number.
        rows: rows of the part.
        source_rows: rows that were read; each is in the part, twice with its mirror image, or among the failures.
        tokens: of all rows.
        bytes, sha256: of the part.
        failures: "key" and "error" of each row that could not be used.
        warnings: "count" of what readers warned about, and the "first" texts.
        statistics: as `TokenStatistics.as_json`.
    """

    unit: int
    rows: int
    source_rows: int
    tokens: int
    bytes: int
    sha256: str
    failures: list[dict[str, str]] = field(default_factory=list)
    warnings: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)

    def token_statistics(self) -> TokenStatistics:
        """Gives the statistics of the unit's tokens."""
        return TokenStatistics.from_json(self.statistics)


class UnitFiles:
    """
    Names the files of the units of a corpus, and commits them.

    Args:
        folder: of the corpus.
        format: as in `TokenizeOptions`.
    """

    def __init__(self, folder: Path, format: str):
        self.folder, self.suffix = folder, SUFFIXES[format]

    def part(self, unit: int) -> Path:
        """Gives the file of a unit's rows."""
        return self.folder / f"part-{unit:05d}{self.suffix}"

    def sidecar(self, unit: int) -> Path:
        """Gives the file that says that the part is whole."""
        return self.folder / f"part-{unit:05d}.json"

    def read(self, unit: int) -> UnitRecord | None:
        """
        Reads what is committed of a unit; None if nothing is.

        Raises:
            TornSidecar: the sidecar is damaged, or its part is missing or of another size.
        """
        path = self.sidecar(unit)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            digest = document.pop("digest")
            record = UnitRecord(**document)
            fits = digest == _digest(document)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            fits = False
        part = self.part(unit)
        size = part.stat().st_size if part.is_file() else None
        if not fits or size != record.bytes:
            what = "is not whole" if not fits else f"speaks of {record.bytes:,} bytes of {part.name}, which has {size}"
            raise TornSidecar(f"the sidecar {path} {what}; tokenize again: the unit will be encoded anew")
        return record

    def is_committed(self, unit: int) -> bool:
        """Tells whether a unit is done; one whose sidecar is torn is not."""
        try:
            return self.read(unit) is not None
        except TornSidecar:
            return False

    def count(self) -> int:
        """Counts the sidecars, without reading them: how far the work is."""
        return sum(1 for _ in self.folder.glob("part-*.json"))

    @contextmanager
    def new_part(self, unit: int) -> Iterator[Path]:
        """Gives a hidden name to write the part to, and removes what is left of it."""
        temporary = self.folder / f".part-{unit:05d}.{uuid.uuid4().hex[:8]}{self.suffix}"
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def commit(self, temporary: Path, record: UnitRecord) -> None:
        """
        Gives the written part its name, then writes the sidecar, with size and checksum of the part. Both files may
        replace equal ones of another worker.

        Raises:
            LostUnit: another worker does the unit, or has done it.
            OSError: the disk is full.
        """
        try:
            sync_file(temporary)
            record.bytes, record.sha256 = temporary.stat().st_size, sha256_of(temporary)
            os.replace(temporary, self.part(record.unit))
        except FileNotFoundError as error:
            raise LostUnit(f"unit {record.unit} was taken over by another worker") from error
        document = asdict(record)
        document["digest"] = _digest(document)
        write_synced(self.sidecar(record.unit), json.dumps(document, indent=1))

    def sweep(self, unit: int) -> None:
        """Removes what processes that were killed have left of a unit: nobody else may be at it, or it is done."""
        for path in self.folder.glob(f".part-{unit:05d}.*"):
            path.unlink(missing_ok=True)


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Computes the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_synced(path: Path, text: str) -> None:
    """Writes a file that is there whole, on the disk, or not at all."""
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        temporary.write_text(text, encoding="utf-8")
        sync_file(temporary)
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
