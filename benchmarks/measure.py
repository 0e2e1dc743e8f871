"""How a benchmark measures: interleaved seconds, peak memory of one call, the machine, and the results on disk."""

import ctypes
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def synchronize(device: torch.device) -> None:
    """Waits for the work that was queued on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def interleaved(
    functions: dict[str, Callable[[], object]], repeats: int, device: torch.device, warmup: int = 1
) -> dict[str, list[float]]:
    """
    Times functions in turns, so that whatever disturbs the machine disturbs all of them, and ratios stay true.

    Args:
        functions: what to time, by name.
        repeats: rounds; each runs every function once.
        device: where they run.
        warmup: untimed rounds before.

    Returns:
        Wall-clock seconds of each function in each round.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-warmup, repeats):
        for name, function in functions.items():
            elapsed = seconds(function, device)
            if turn >= 0:
                times[name].append(elapsed)
    return times


def ratios(times: list[float], reference: list[float]) -> dict[str, float]:
    """How many times as long as the reference: by medians, and by the fastest rounds, which others disturb least."""
    return {"median": median(times) / median(reference), "fastest": min(times) / min(reference)}


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """
    Bytes that one call needs at its peak, beyond what is held before it: weights and inputs do not count, its result
    does.

    On a GPU PyTorch's allocator keeps count. On Linux the kernel records the process's largest resident size, and
    forgets it on request; elsewhere there is no such record, and the result is None.
    """
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        function()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - held
    if not CLEAR_REFS.exists():
        return None
    # Memory that was freed but not given back would hide what the call needs.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return None
    held = resident("VmRSS")
    function()
    return max(0, resident("VmHWM") - held)


def resident(field: str) -> int:
    """Bytes of this process in memory: now ("VmRSS"), or at most since the start or the last reset ("VmHWM")."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"field must be in {STATUS}, got {field!r}")


def machine(device: torch.device) -> dict[str, object]:
    """What the numbers depend on: hardware, threads, versions, and how busy the machine was."""
    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    facts = {
        "date": date.today().isoformat(),
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "device": device.type,
    }
    for package in ("torch", "transformers", "diffusers"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = None
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts


def write_json(path: Path, script: str, device: torch.device, protocol: dict, results: list[dict] | dict) -> None:
    """Writes the results together with what is needed to judge and repeat them."""
    record = {
        "script": script,
        # Where the record was first written says nothing to others.
        "arguments": [argument.replace(str(path), path.name) for argument in sys.argv[1:]],
        "machine": machine(device),
        "protocol": protocol,
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_suffix(".tmp")
    waiting.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    waiting.replace(path)


def mebibytes(size: int | None) -> str:
    """For a table's cell."""
    return "-" if size is None else f"{size / 2**20:,.0f}"
