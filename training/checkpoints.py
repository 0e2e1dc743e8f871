"""Checkpoints of a run: complete or not there, the last few kept, and the newest undamaged one found again.

A checkpoint is a folder of tensors that torch.distributed.checkpoint wrote, in shards, and of one file for each process
with what else it needs, and with the checksums of what that process wrote. `complete.json` is written last.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

TENSORS = "tensors"
_COMPLETE = "complete.json"
_PREFIX = "checkpoint-"
_ABANDONED = "abandoned-"


def folder_for(output: Path, step: int) -> Path:
    """Says where the checkpoint of a step lies once it is complete."""
    return output / f"{_PREFIX}{step:08d}"


def unfinished(folder: Path) -> Path:
    """Says where it is written until then."""
    return folder.with_name(folder.name + ".partial")


def write_part(folder: Path, rank: int, facts: dict[str, Any], written: Callable[[Path], bool]) -> None:
    """
    Writes what one process knows, with the checksums of the files that it wrote, into `unfinished(folder)`.

    Args:
        rank: the process's.
        facts: what a resumed run asks for; JSON-ready.
        written: tells which files are this process's.
    """
    partial = unfinished(folder)
    listed = {}
    for path in sorted(path for path in partial.rglob("*") if path.is_file() and written(path)):
        listed[str(path.relative_to(partial))] = {"bytes": path.stat().st_size, "sha256": _checksum(path)}
        _to_disk(path)
    part = _part(partial, rank)
    part.write_text(json.dumps({"files": listed, **facts}), encoding="utf-8")
    _to_disk(part)


def complete(folder: Path, processes: int, keep: int) -> None:
    """
    Seals `unfinished(folder)` when all processes have written their parts, renames it, and removes older ones.

    Args:
        processes: how many parts there are.
        keep: how many checkpoints stay.
    """
    partial = unfinished(folder)
    parts = {_part(partial, rank).name: _checksum(_part(partial, rank)) for rank in range(processes)}
    (partial / _COMPLETE).write_text(json.dumps({"parts": parts}) + "\n", encoding="utf-8")
    for path in (partial / _COMPLETE, partial):
        _to_disk(path)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    _to_disk(folder.parent)
    for old in _folders(folder.parent)[:-keep]:
        shutil.rmtree(old)


def set_aside_after(output: Path, step: int) -> Path | None:
    """
    Moves the checkpoints of later steps than the one that a run begins at into a new folder, `output`/abandoned-N.

    A run that begins anew, or at an older checkpoint, would lose its own ones to them: those of the highest steps stay,
    and the newest is gone on from. They are moved and not removed, so that nothing is lost if the run was begun anew by
    mistake: moved back, or named as what to resume, they are what they were. If nobody wants them, remove the folder.

    Args:
        output: folder of a run's checkpoints.
        step: that the run begins at; its own checkpoint stays.

    Returns:
        The new folder; None if there was nothing to move.
    """
    later = [folder for folder in _folders(output) if _number(folder, _PREFIX) > step]
    if not later:
        return None
    before = max(0, *(_number(path, _ABANDONED) for path in output.iterdir()))
    aside = output / f"{_ABANDONED}{before + 1}"
    aside.mkdir()
    for folder in later:
        folder.rename(aside / folder.name)
    logger.warning("checkpoints after step %d are in %s now: the run goes another way from there", step, aside)
    return aside


def read_part(folder: Path, rank: int) -> dict[str, Any]:
    """Reads what a process wrote; the first one's where there was none of that rank."""
    path = _part(folder, rank)
    path = path if path.is_file() else _part(folder, 0)
    return json.loads(path.read_text(encoding="utf-8"))


def processes_of(folder: Path) -> int:
    """Counts the processes that wrote a checkpoint."""
    return len(json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))["parts"])


def newest(output: Path, check: Callable[[Path], str | None] | None = None) -> Path | None:
    """
    Finds the newest checkpoint whose files are all there and unchanged; what is passed over is logged.

    Args:
        check: says what is wrong with one; `damage` if None.
    """
    for folder in reversed(_folders(output)):
        fault = (check or damage)(folder)
        if fault is None:
            return folder
        logger.warning("%s is passed over: %s", folder, fault)
    return None


def damage(folder: Path, rank: int = 0, processes: int = 1) -> str | None:
    """
    Says what is wrong with a checkpoint, or None.

    Args:
        rank, processes: of so many processes that look at it, each of which reads through a share of the files.
    """
    try:
        parts = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))["parts"]
        listed: dict[str, dict[str, Any]] = {}
        for name, checksum in parts.items():
            if _checksum(folder / name) != checksum:
                return f"{name} has been changed"
            listed |= json.loads((folder / name).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"it has no readable {_COMPLETE} or part of it ({error})"
    for index, (name, facts) in enumerate(sorted(listed.items())):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}"
        if index % processes == rank and _checksum(path) != facts["sha256"]:
            return f"{name} has been changed"
    return None


def _part(folder: Path, rank: int) -> Path:
    return folder / f"part-{rank:05d}.json"


def _number(path: Path, prefix: str) -> int:
    """Gives the number that the name of a file has after a prefix; -1 of other names."""
    digits = path.name.removeprefix(prefix)
    return int(digits) if path.name.startswith(prefix) and digits.isdecimal() else -1


def _folders(output: Path) -> list[Path]:
    """Finds the checkpoints that were sealed, by their steps."""
    found = [path for path in output.glob(f"{_PREFIX}*") if path.is_dir() and _number(path, _PREFIX) >= 0]
    return sorted(found, key=lambda path: _number(path, _PREFIX))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
