"""A run that is told to stop: schedulers send a signal some time before they take the machines away."""

import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
STOPPED = 75  # exit code of a run that was told to stop and can be resumed: "try again later" in sysexits.h


class Stopped(RuntimeError):
    """Says that a run was told to stop, and that its checkpoint is complete."""


class Interruption:
    """
    Notes that one of `SIGNALS` has arrived, within a `with` block, in place of what would be done about it.

    Attributes:
        asked: whether one has.
    """

    def __init__(self):
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __enter__(self) -> "Interruption":
        self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
