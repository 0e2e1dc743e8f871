"""Reconstructions that others' code makes: those that lie in a folder, and those of a command of another environment.

Neither imports anything, so what an old repository needs never conflicts with what this one does.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..fingerprints import listing_fingerprint
from ..interface import KINDS, EvaluationSet, Reconstructions
from ..sample_files import FoundFiles, file_names, read_reconstruction, write_sample

INPUT, OUTPUT = "{input}", "{output}"
_TAIL = 2000  # characters of what a command has said that an error repeats


class _Made(Reconstructions):
    def __init__(self, name: str, kinds: Sequence[str], bits_per_pixel: float | None, describe: dict[str, Any] | None):
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown or not kinds:
            raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {', '.join(unknown) or 'none'}")
        if bits_per_pixel is not None and not bits_per_pixel > 0:
            raise ValueError(f"bits_per_pixel must be a positive number, got {bits_per_pixel!r}")
        self.name, self.kinds = name, frozenset(kinds)
        self.bits_per_pixel, self.facts = bits_per_pixel, dict(describe or {})

    def bits(self, shape: Sequence[int]) -> int | None:
        frames, _, height, width = shape
        return None if self.bits_per_pixel is None else round(self.bits_per_pixel * frames * height * width)

    def describe(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "bits_per_pixel": self.bits_per_pixel, "described": self.facts}


class FolderReconstructions(_Made):
    """
    Takes reconstructions out of a folder: for sample a/b.jpg the file a/b.png, a/b.npy, or a folder a/b of frames.

    Args:
        path: the folder, one for each set; `python -m atoken.evaluation.write_samples` writes what to reconstruct.
        bits_per_pixel: what the tokenizer stores, over all pixels of all frames; None where nobody knows.
        describe: JSON-ready facts that go beside the numbers: whose code, which weights, which options.
        kinds: what the folder has, one of "image", "video" and "object".

    Raises:
        FileNotFoundError: there is no such folder, or one of its samples is missing.
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        path: str,
        bits_per_pixel: float | None = None,
        describe: dict[str, Any] | None = None,
        kinds: Sequence[str] = ("image",),
    ):
        super().__init__(path, kinds, bits_per_pixel, describe)
        self.files = FoundFiles(Path(path))

    def check(self, samples: EvaluationSet) -> None:
        self.files.check(file_names(samples))

    def reconstruct(self, samples: EvaluationSet, indices: Sequence[int]) -> Iterator[torch.Tensor]:
        names = file_names(samples)
        for index in indices:
            yield read_reconstruction(self.files[names[index]])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "path": str(self.files.root)}

    def fingerprints(self) -> dict[str, str]:
        return {"files": listing_fingerprint(self.files.root, self.files.paths())}


class CommandReconstructions(_Made):
    """
    Runs a command once for each chunk of samples, on a folder of inputs, and takes what it writes.

    Args:
        run: the command and its arguments, such as [python, reconstruct.py, "{input}", "{output}"]: they stand for the
            folders that it reads and writes, of PNG files, and of folders of PNG files for videos. No shell is between.
        bits_per_pixel, describe: as for `FolderReconstructions`.
        kinds: what it can reconstruct, "image" or "video".

    Raises:
        FileNotFoundError: there is no such command.
        ValueError: an option out of its range, a command without the two folders, one that fails, or one that leaves
            out a sample.
    """

    def __init__(
        self,
        run: Sequence[str],
        bits_per_pixel: float | None = None,
        describe: dict[str, Any] | None = None,
        kinds: Sequence[str] = ("image",),
    ):
        run = [str(part) for part in run] if isinstance(run, list | tuple) else []
        missing = [folder for folder in (INPUT, OUTPUT) if not any(folder in part for part in run)]
        if missing:
            given = " ".join(run) or "no list of a command and its arguments"
            raise ValueError(f"run must have {' and '.join(missing)} among its arguments, got {given}")
        super().__init__(Path(run[0]).name, kinds, bits_per_pixel, describe)
        if "object" in self.kinds:
            raise ValueError('kinds must be "image" or "video" for a command, got "object"; take `folder` for objects')
        if shutil.which(run[0]) is None:
            raise FileNotFoundError(f"run must begin with a command that is there, got {run[0]}")
        self.run = run

    def check(self, samples: EvaluationSet) -> None:
        file_names(samples)

    def reconstruct(self, samples: EvaluationSet, indices: Sequence[int]) -> Iterator[torch.Tensor]:
        names = file_names(samples)
        with tempfile.TemporaryDirectory(prefix="atoken-command-") as place:
            inputs, outputs = Path(place) / "input", Path(place) / "output"
            inputs.mkdir()
            outputs.mkdir()
            for index in indices:
                write_sample(inputs, names[index], samples.samples[index].load(), samples.kind)
            self._call(inputs, outputs)
            files = FoundFiles(outputs, "run")
            for index in indices:
                yield read_reconstruction(files[names[index]])

    def _call(self, inputs: Path, outputs: Path) -> None:
        command = [part.replace(INPUT, str(inputs)).replace(OUTPUT, str(outputs)) for part in self.run]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            said = (ended.stderr or ended.stdout).strip()[-_TAIL:]
            raise ValueError(f"run must end with code 0, got {ended.returncode} of {' '.join(command)}: {said}")

    def describe(self) -> dict[str, Any]:
        files = {part: _sha256(Path(part)) for part in self.run[1:] if Path(part).is_file()}
        return {**super().describe(), "run": self.run, "files": files}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
