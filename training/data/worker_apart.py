"""A process that does one thing after another, and may crash or never end: then another takes its place."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class WorkerApart:
    """
    Runs a function in a process of its own, which is started at the first call and again after it was lost.

    It is spawned and not forked, as threads of libraries do not survive a fork. It is a context manager, and ends its
    process at the end.

    Args:
        function: what is run; it and its arguments must pickle. What it returns is lost, and an error that it raises
            ends the process.
    """

    def __init__(self, function: Callable[..., None]):
        self._function = function
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def run(self, *arguments: Any, seconds: float) -> str | None:
        """
        Runs the function once.

        Args:
            arguments: of the function.
            seconds: that it may take, without the start of the process.

        Returns:
            None, or why it did not come to its end.
        """
        if self._process is None:
            self._start()
        assert self._process is not None and self._connection is not None
        reason = None
        try:
            self._connection.send(arguments)
            if self._connection.poll(seconds):
                self._connection.recv()
                return None
            reason = f"it took longer than {seconds:g} seconds"
            self._process.kill()
            self._process.join()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode or 0
            reason = f"its process ended {'by ' + signal.Signals(-code).name if code < 0 else f'with {code}'}"
        self._forget()
        return reason

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()  # it has imported what it needs

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def __enter__(self) -> "WorkerApart":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._forget()


def _serve(connection: Connection, function: Callable[..., None]) -> None:
    connection.send(None)
    while True:
        try:
            arguments = connection.recv()
        except EOFError:
            return  # nobody is there any more
        function(*arguments)
        connection.send(None)
