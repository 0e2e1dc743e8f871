"""Who works on a unit: a file that only one process can create, and whose time says that it still works.

Leases save work and decide nothing: if two processes do work on one unit, both write the same bytes.
"""

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

BEAT, STALE = 10.0, 60.0  # seconds


class Lease:
    """
    Holds a unit until it is closed.

    Args:
        path: of the lease's file.
    """

    def __init__(self, path: Path):
        self.path, self._closed = path, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            with suppress(OSError):
                os.utime(self.path)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._closed.set()
        self._thread.join()
        self.path.unlink(missing_ok=True)


def take_lease(folder: Path, unit: int) -> Lease | None:
    """Takes the lease of a unit; None if another process has it and is alive."""
    path = _path(folder, unit)
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            if not _is_abandoned(path):
                return None
            # Of several that see it, one succeeds in moving it away.
            away = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
            with suppress(FileNotFoundError):
                path.rename(away)
                away.unlink()
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}))
        return Lease(path)
    return None


def is_leased(folder: Path, unit: int) -> bool:
    """Tells whether a unit has a lease, of a living process or of one that is gone."""
    return _path(folder, unit).exists()


def _path(folder: Path, unit: int) -> Path:
    return folder / f".lease-{unit:05d}"


def sweep_leases(folder: Path) -> None:
    """Removes the leases of processes that are gone, and what they have left while they looked at leases."""
    for path in folder.glob(".lease-*"):
        if path.suffix or _is_abandoned(path):
            path.unlink(missing_ok=True)
    for path in folder.glob(".clock.*"):
        path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    """Whether the owner is known to be gone, or has not been heard of for long."""
    try:
        owner, beat = json.loads(path.read_text()), path.stat().st_mtime
    except FileNotFoundError:
        return True
    except ValueError:  # just being written, or by one that was killed meanwhile
        owner, beat = {}, _time_of(path)
    if owner.get("host") == socket.gethostname() and _started(owner["pid"]) != owner["started"]:
        return True
    return _now(path.parent) - beat > STALE


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _now(folder: Path) -> float:
    """The time by the clock of the file system, which other machines share."""
    probe = folder / f".clock.{uuid.uuid4().hex[:8]}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    except FileNotFoundError:  # swept by another
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


def _started(pid: int) -> str | None:
    """When a process of this machine started, None if there is none: the number alone may be that of another by now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
