"""Damaged files of every format: an error that names the file, or the picture itself, and never a crash, a hang or
another picture without a word."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .seeds import CHECKED, ENDLESS, FORMATS

ROOT = Path(__file__).parents[2]
SEED = 20
# The whole file takes less than a minute; more damage finds more, for whoever has the time.
CUTS, FLIPS, SWAPS = 8, 8, 4
_GOOD_ERRORS = {"ValueError", "FileNotFoundError", "OSError"}
_PEAK_KIB = 2 * 2**20


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Ends a file early, anywhere; one time in four just before its last bytes."""
    keep = len(data) - int(rng.integers(1, 9)) if rng.random() < 0.25 else int(rng.integers(1, len(data)))
    return data[: max(keep, 1)]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Flips one to three bits, half of the time in the header."""
    changed = bytearray(data)
    end = min(len(data), 64) if rng.random() < 0.5 else len(data)
    for position in rng.integers(0, end, int(rng.integers(1, 4))):
        changed[position] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def swap(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Puts the first bytes of another format's file over this one's."""
    count = int(rng.choice([4, 12, 32, 128]))
    return other[:count] + data[count:]


def damaged(kind: str, folder: Path) -> dict[str, tuple[str, str]]:
    """Writes the damaged files of one kind: their names -> (format, damage)."""
    rng = np.random.default_rng(SEED)
    intact = {name: make() for name, make in FORMATS[kind].items()}
    everything = [make() for formats in FORMATS.values() for make in formats.values()]
    written = {}

    def write(name: str, damage: str, index: int, data: bytes) -> None:
        stem, _, suffix = name.rpartition(".")
        path = folder / f"{len(written):04d}-{stem}-{damage}{index}.{suffix}"
        path.write_bytes(data)
        written[path.name] = (name, damage)

    for name, data in intact.items():
        write(name, "intact", 0, data)
        for index in range(CUTS):
            write(name, "cut", index, cut(data, rng))
        for index in range(FLIPS):
            write(name, "flip", index, flip(data, rng))
        for index in range(SWAPS):
            other = everything[int(rng.integers(len(everything)))]
            write(name, "swap", index, swap(data, other, rng))
    return written


def read_all(kind: str, folder: Path, names: list[str]) -> tuple[dict[str, dict], int]:
    """Reads files in a process of their own: the outcome of each, and the peak of memory in KiB."""
    command = [sys.executable, "-m", "tests.fuzzing.read_files", kind, *(str(folder / name) for name in names)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    outcomes = {line["file"]: line for line in lines if "file" in line}
    silent = [name for name in names if name not in outcomes]
    assert not silent, f"reading {silent[0]} ended the process (exit code {run.returncode}):\n{run.stderr[-3000:]}"
    return outcomes, lines[-1]["peak_kib"]


@pytest.mark.parametrize("kind", list(FORMATS))
def test_damaged_files(kind, tmp_path):
    written = damaged(kind, tmp_path)
    outcomes, peak = read_all(kind, tmp_path, list(written))
    originals = {written[name][0]: each for name, each in outcomes.items() if written[name][1] == "intact"}
    wrong = []
    for name, found in outcomes.items():
        form, damage = written[name]
        if damage == "intact":
            assert "digest" in found, f"{form} cannot be read: {found}"
        elif "error" in found:
            if found["error"] not in _GOOD_ERRORS:
                wrong.append(f"{name}: {found['error']}: {found['message']}")
            elif name not in found["message"]:
                wrong.append(f"{name}: the error does not name the file: {found['message']}")
        elif found["digest"] != originals[form]["digest"] and not found["warnings"]:
            other_shape = found["shape"] != originals[form]["shape"]
            if (damage != "flip" and form not in ENDLESS) or form in CHECKED:
                wrong.append(f"{name}: read as another {kind}, {found['shape']} of {originals[form]['shape']}")
            elif other_shape and damage == "swap":
                wrong.append(f"{name}: read with another shape, {found['shape']}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(outcomes)}:", *wrong])
    assert peak < _PEAK_KIB, f"reading took {peak / 2**20:.1f} GiB"
