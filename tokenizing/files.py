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
    """
    Makes a folder beside `path` to write into; it becomes `path` at the end, or goes if anything fails.

    Args:
        path: of the folder.
        keep: whether a folder that is at `path` by then stays, and the new one goes; else it is replaced. Of several
            processes that write the same, all find the one that was done first then.
    """

    def __init__(self, path: Path, keep: bool = False):
        self.path, self.keep = path, keep
        self.temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Path:
        self.temporary.mkdir(parents=True)
        return self.temporary

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)
            return
        if self.keep:
            self._move_unless_there()
        else:
            self._move()

    def _move_unless_there(self) -> None:
        try:
            self.temporary.rename(self.path)  # which fails where a folder with files is
        except OSError:
            shutil.rmtree(self.temporary, ignore_errors=True)
            if not self.path.is_dir():
                raise

    def _move(self) -> None:
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
