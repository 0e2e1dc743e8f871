"""Corpora from single files: those below a folder, and those that a list names."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from atoken.processing.media_suffixes_atoken import media_kind
from atoken.processing.media_warnings_atoken import warn_about_media

from .sources import CorpusSource, SourceRow, Unit, checked_columns, ranges

LIST_SUFFIXES = (".txt", ".jsonl", ".csv")
_FOLDER_COLUMNS = ("caption", "label", "folder")
_NAMED = 10  # files that are passed over by name


class FileSource(CorpusSource):
    """
    Gives files; their names and what is known of them are read once, and a digest of all of it enters the plan.

    Args:
        kind_of_source: "folder" or "list".
        path: of the folder or the list.
        files: paths relative to `root`.
        root: what they are relative to.
        keep: as in `TokenizeOptions`.
    """

    def __init__(self, kind_of_source: str, path: Path, files: list[str], root: Path, keep: dict[str, str]):
        self.kind_of_source, self.path, self.files, self.root, self.keep = kind_of_source, path, files, root, keep
        if not files:
            raise ValueError(f"source must hold media of the kind that is asked for, got {path} with none")

    def facts(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for index in range(len(self.files)):
            values = {name: value for name, value in self._given(index).items() if name not in ("caption", "label")}
            digest.update(f"{json.dumps([self.files[index], values], sort_keys=True, default=str)}\n".encode())
        names = {"first": self.files[0], "last": self.files[-1]}
        return {
            "from": self.kind_of_source,
            "path": str(self.path),
            "rows": len(self.files),
            **names,
            "digest": digest.hexdigest()[:32],
        }

    def units(self, rows: int) -> list[Unit]:
        return ranges(len(self.files), rows)

    def rows(self, unit: Unit) -> Iterator[SourceRow]:
        for place in range(unit["rows"]):
            index = unit["first"] + place
            columns, error = checked_columns(self._columns(index))
            name = readable_name(self.files[index])
            key = columns.pop("key", None) or name
            yield SourceRow(place, key, self.root / self.files[index], name, columns, error)

    def _given(self, index: int) -> dict[str, Any]:
        """What is known of a file without opening another."""
        return {}

    def _columns(self, index: int) -> dict[str, Any]:
        given = self._given(index)
        return {name: given.get(column) for name, column in self.keep.items()}


class FolderSource(FileSource):
    """
    Gives the media of a kind below a folder, in the order of their paths.

    Columns: "caption" is the text file of the same name; "label" is the place of the first folder on the path among
    all such folders, as in torchvision's ImageFolder; "folder" is its name.
    """

    def __init__(self, path: Path, kind: str, keep: dict[str, str]):
        found = {file: media_kind(path / file) for file in sorted(_below(path))}
        others = [file for file, each in found.items() if each is None and not file.endswith(".txt")]
        if others:
            names = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
            warn_about_media(f"{path}: files with other suffixes are passed over, {len(others)} of them: {names}")
        super().__init__("folder", path, [file for file, each in found.items() if each == kind], path, keep)
        self.classes = {name: place for place, name in enumerate(sorted({_top(file) for file in self.files} - {None}))}

    def check_columns(self, kind: str, media: str | None, columns: Iterable[str]) -> None:
        if media is not None:
            raise ValueError(f"media must be left out for a folder of files, got {media!r}")
        for column in columns:
            if column not in _FOLDER_COLUMNS:
                raise ValueError(f"keep must be among {', '.join(_FOLDER_COLUMNS)} for a folder, got {column!r}")
            if column != "caption" and len(self.classes) == 0:
                raise ValueError(f"keep must be caption for a folder without folders in it, got {column!r}")

    def _columns(self, index: int) -> dict[str, Any]:
        top, caption = _top(self.files[index]), (self.root / self.files[index]).with_suffix(".txt")
        found = {"label": self.classes.get(top), "folder": top}
        if "caption" in self.keep.values() and caption.is_file():
            found["caption"] = caption.read_text(encoding="utf-8", errors="replace").strip()
        return {name: found.get(column) for name, column in self.keep.items()}


class ListSource(FileSource):
    """
    Gives the files that a list names, in its order: a path on each line of a .txt file, or the column "path" of a .csv
    or .jsonl file, whose other columns can be kept. Paths are relative to the list's folder.
    """

    def __init__(self, path: Path, keep: dict[str, str]):
        self.listed = _read_list(path)
        missing = [number for number, row in enumerate(self.listed, 1) if not row.get("path")]
        if missing:
            raise ValueError(f"source must name a path in every row, got {path} without one in row {missing[0]}")
        super().__init__("list", path, [str(row["path"]) for row in self.listed], path.parent, keep)

    def check_columns(self, kind: str, media: str | None, columns: Iterable[str]) -> None:
        if media is not None:
            raise ValueError(f"media must be left out for a list of files, got {media!r}")
        known = sorted({name for row in self.listed for name in row})
        for column in columns:
            if column not in known:
                raise ValueError(f"keep must be among the columns {', '.join(known)} of {self.path}, got {column!r}")

    def _given(self, index: int) -> dict[str, Any]:
        return self.listed[index]

    def _columns(self, index: int) -> dict[str, Any]:
        given = {name: self.listed[index].get(column) for name, column in self.keep.items()}
        typed = ("label", "caption", "key")
        return {
            name: value if name in typed or value is None or isinstance(value, str) else json.dumps(value)
            for name, value in given.items()
        }


def readable_name(name: str) -> str:
    """Gives a file's name with the bytes that are no UTF-8 written as escapes: neither JSON nor Arrow takes them."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _below(folder: Path) -> Iterator[str]:
    """All visible files below a folder, relative to it; links are followed, each folder is entered once."""
    entered = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, followlinks=True):
        inner = {name: os.path.realpath(os.path.join(place, name)) for name in folders if not name.startswith(".")}
        folders[:] = [name for name, real in sorted(inner.items()) if real not in entered]
        entered.update(inner.values())
        for name in files:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _top(file: str) -> str | None:
    parts = file.split("/")
    return parts[0] if len(parts) > 1 else None


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".csv":
            # A cell in quotes may hold line breaks, which stay as they are.
            return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
        # Line feeds alone, of which reading makes all line breaks, end a row: a name or a caption may hold what
        # str.splitlines also takes for one, such as U+2028.
        lines = path.read_text(encoding="utf-8").split("\n")
        if path.suffix == ".txt":
            return [{"path": line.strip()} for line in lines if line.strip()]
        rows = [json.loads(line) for line in lines if line.strip()]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"source must be a list in UTF-8, got {path}: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"source must have an object on every line, got {path} with something else")
    return rows
