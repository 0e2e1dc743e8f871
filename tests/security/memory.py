"""How much memory something takes at its peak."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def memory_below(mebibytes: int) -> Iterator[None]:
    """Fails if this process comes to have more memory inside than it had before, by `mebibytes`; Linux only."""
    before = _peak(reset=True)
    yield
    grown = (_peak() - before) / 1024
    assert grown < mebibytes, f"it took {grown:.0f} MiB"


def _peak(reset: bool = False) -> int:
    """The peak in KiB, since the last call that has set it to what is in use."""
    if not STATUS.exists():
        return 0
    if reset:
        CLEAR.write_text("5")
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
