"""The list of objects that are to be prepared: names, mesh files and captions, of a CSV or JSON lines file."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Names become names in a tar, in which the first dot ends what belongs together.
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ListedObject:
    """
    Holds one line of a manifest.

    Attributes:
        name: unique, of letters, digits, "_" and "-".
        path: its mesh.
        caption: what 3D understanding is trained with, or None.
    """

    name: str
    path: Path
    caption: str | None = None


def read_manifest(manifest: Path, root: Path | None = None, captions: Path | None = None) -> list[ListedObject]:
    """
    Reads a manifest.

    Args:
        manifest: .csv with a header, or .jsonl, with `path` and, if there are, `name` (by default the file's name
            without suffix) and `caption`.
        root: what paths are relative to; by default the manifest's folder.
        captions: .csv of names and captions without a header, as Cap3D is published. It goes before captions of the
            manifest; names that the manifest does not have are passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file of another form, a line without a path, a name that is no name, or one that is there twice.
    """
    root = manifest.parent if root is None else root
    texts = {} if captions is None else read_captions(captions)
    found: dict[str, ListedObject] = {}
    for number, row in _rows(manifest):
        where = f"{manifest}, line {number}"
        path = row.get("path")
        if not isinstance(path, str) or not path:
            raise ValueError(f"{where}: path must be the path of a mesh, got {path!r}")
        name = row.get("name") or Path(path).stem
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f'{where}: name must be of letters, digits, "_" and "-", got {name!r}')
        if name in found:
            raise ValueError(f"{where}: names must be unique, got {name!r} again; give a column `name`")
        found[name] = ListedObject(name, root / path, texts.get(name) or row.get("caption") or None)
    if not found:
        raise ValueError(f"manifest must list at least one object, got {manifest} with none")
    return list(found.values())


def read_captions(path: Path) -> dict[str, str]:
    """
    Reads names and captions, two columns without a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that has not two columns.
    """
    with _opened(path, "captions") as file:
        texts = {}
        for number, row in enumerate(csv.reader(file), start=1):
            if len(row) != 2:
                raise ValueError(
                    f"{path}, line {number}: captions must be two columns, name and caption, got {len(row)}"
                )
            texts[row[0]] = row[1].strip()
    return texts


def fingerprint(*files: Path | None) -> str:
    """Hashes the contents of files (SHA-256, hex), those that are not None."""
    digest = hashlib.sha256()
    for file in filter(None, files):
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _opened(path: Path, what: str):
    if not path.is_file():
        raise FileNotFoundError(f"{what} must be a file that is there, got {path}")
    return open(path, encoding="utf-8", newline="")


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the number of each line, and its values by name."""
    with _opened(manifest, "manifest") as file:
        if manifest.suffix == ".csv":
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                given = ", ".join(reader.fieldnames or ()) or "none"
                raise ValueError(f"manifest must have a column path, got {given} in {manifest}")
            for row in reader:
                yield reader.line_num, row
        elif manifest.suffix == ".jsonl":
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{manifest}, line {number}: lines must be JSON, got {line[:80]!r}") from error
                if not isinstance(row, dict):
                    raise ValueError(f"{manifest}, line {number}: lines must be JSON objects, got {line[:80]!r}")
                yield number, row
        else:
            raise ValueError(f"manifest must be a .csv or .jsonl file, got {manifest}")
