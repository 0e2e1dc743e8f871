"""Folders that appear whole or not at all; for single files see `atoken.processing.atomic_files_atoken`."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def folder_of(target: Path) -> Iterator[None]:
    """Creates the folder of `target`, and removes what it created if the work inside fails."""
    created = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()
        raise


class NewFolder:
    """Makes a folder beside `path` to write into; it becomes `path` at the end, or goes if anything fails."""

    def __init__(self, path: Path):
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Path:
        self.temporary.mkdir(parents=True)
        return self.temporary

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)
            return
        old = self.temporary.with_name(f"{self.temporary.name}.old")
        if self.path.exists():
            self.path.rename(old)
        try:
            self.temporary.rename(self.path)
        except OSError:
            if old.exists():
                old.rename(self.path)
            shutil.rmtree(self.temporary, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)
