"""Checkpoints of a run: complete or not there, the last few kept, and the newest undamaged one found again."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

_LIST = "files.json"
_PREFIX = "checkpoint-"


def folder_for(output: Path, step: int) -> Path:
    """Says where the checkpoint of a step lies once it is complete."""
    return output / f"{_PREFIX}{step:08d}"


def unfinished(folder: Path) -> Path:
    """Says where it is written until then."""
    return folder.with_name(folder.name + ".partial")


def complete(folder: Path, keep: int) -> None:
    """
    Seals `unfinished(folder)`: lists its files with sizes and checksums, renames it, and removes older ones.

    Args:
        keep: how many checkpoints stay.
    """
    partial = unfinished(folder)
    listed = {}
    for path in sorted(path for path in partial.rglob("*") if path.is_file()):
        listed[str(path.relative_to(partial))] = {"bytes": path.stat().st_size, "sha256": _checksum(path)}
    (partial / _LIST).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    for path in [path for path in partial.rglob("*") if path.is_file()] + [partial]:
        _to_disk(path)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    _to_disk(folder.parent)
    for old in _folders(folder.parent)[:-keep]:
        shutil.rmtree(old)


def newest(output: Path) -> Path | None:
    """Finds the newest checkpoint whose files are all there and unchanged; what is passed over is logged."""
    for folder in reversed(_folders(output)):
        fault = damage(folder)
        if fault is None:
            return folder
        logger.warning("%s is passed over: %s", folder, fault)
    return None


def damage(folder: Path) -> str | None:
    """Says what is wrong with a checkpoint, or None."""
    try:
        listed = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"it has no readable {_LIST}"
    for name, facts in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}"
        if _checksum(path) != facts["sha256"]:
            return f"{name} has been changed"
    return None


def _folders(output: Path) -> list[Path]:
    found = [path for path in output.glob(f"{_PREFIX}*") if path.is_dir() and path.suffix != ".partial"]
    return sorted(found, key=lambda path: path.name)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
