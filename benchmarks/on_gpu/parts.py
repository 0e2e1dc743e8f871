"""A part of the GPU's record: a process of its own, which hands over each row as it is measured and may be cut off."""

import gc
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch

Row = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """
    Says what every part needs to know.

    Attributes:
        device: "cuda" or "cpu".
        tiny: whether sizes are those of a test.
        golden: folder with the numbers of the authors' code.
        peak: products a second that the first part has measured, floating point operations, or None.
        bandwidth: bytes a second of a copy on the device, or None.
    """

    device: torch.device
    tiny: bool
    golden: Path
    peak: float | None = None
    bandwidth: float | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Gives the dtype of weights and activations: bf16 on a GPU, fp32 on a CPU."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32


Part = Callable[[Setup], Iterator[Row]]


def synchronize(device: torch.device) -> None:
    """Waits for the work that was queued on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(function: Callable[[], object], setup: Setup, at_most: float = 3.0, rounds: int = 30) -> float:
    """Gives the median wall-clock seconds of a call: two calls before, then rounds until `at_most` seconds are over."""
    calls = 1 if setup.tiny else 2
    for _ in range(calls):
        function()
    times: list[float] = []
    while len(times) < (1 if setup.tiny else 3) or (sum(times) < at_most and len(times) < rounds and not setup.tiny):
        synchronize(setup.device)
        start = time.perf_counter()
        function()
        synchronize(setup.device)
        times.append(time.perf_counter() - start)
    return median(times)


def attempt(row: Row, measure: Callable[[], Row]) -> Row:
    """Adds to a row what is measured, or says what is missing or went wrong; memory that was taken is given back."""
    try:
        return row | measure()
    except ImportError as error:
        return row | {"missing": str(error)}
    except Exception as error:  # whatever a kernel or a compiler may raise: the next row must still be measured
        return row | {"error": f"{type(error).__name__}: {error}"[:500]}
    finally:
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def run_part(part: Part, setup: Setup, seconds: float, keep: Callable[[Row], None]) -> Row:
    """
    Runs a part in a process of its own.

    Args:
        part: yields rows.
        setup: is handed to it.
        seconds: after which it is ended; the rows until then are kept.
        keep: is called with each row at once.

    Returns:
        "state" ("done", "out of time" or "failed"), "seconds" and, if it failed, "error".
    """
    # A fork has at once what was imported, but no GPU if any import has as much as counted them.
    context = multiprocessing.get_context("spawn" if setup.device.type == "cuda" else "fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part, setup, theirs), daemon=False)
    start = time.monotonic()
    process.start()
    theirs.close()
    outcome: Row = {"state": "out of time"}
    try:
        while (left := start + seconds - time.monotonic()) > 0 and ours.poll(left):
            row = ours.recv()
            if "state" in row:
                outcome = row
                break
            keep(row)
    except EOFError:
        outcome = {"state": "failed", "error": "the process ended without a word"}
    if outcome["state"] == "out of time":
        process.kill()
    process.join()
    return outcome | {"seconds": round(time.monotonic() - start, 1)}


def _work(part: Part, setup: Setup, pipe: Connection) -> None:
    torch.manual_seed(0)
    try:
        for row in part(setup):
            pipe.send(row)
        pipe.send({"state": "done"})
    except BaseException:
        pipe.send({"state": "failed", "error": traceback.format_exc()[-2000:]})
