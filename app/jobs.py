"""Many files through one command: which to read, where to write, and what went wrong with which."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rich.markup import escape

from atoken_headers.latents import LatentHeader

from .console import progress_bar, say
from .errors import EXPECTED_ERRORS, UsageError, one_line

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """
    Names one file to work on.

    Attributes:
        path: the file.
        name: where its output goes, relative to the output folder and without suffix.
        kind: "image", "video" or "object".
        target: the output, if there is one for each file.
        header: of a latents file.
    """

    path: Path
    name: Path
    kind: str
    target: Path | None = None
    header: LatentHeader | None = None


@dataclass(frozen=True)
class Found:
    """Names a file that arguments stand for, and where its output goes (relative and without suffix)."""

    path: Path
    name: Path


@dataclass(frozen=True)
class Failure:
    """Names a file that could not be used, and says why."""

    file: str
    error: str


def find_files(inputs: list[str], suffixes: frozenset[str]) -> tuple[list[Found], list[Failure]]:
    """
    Finds the files that the arguments of a command stand for.

    Folders are searched with all they contain, and their structure is kept in the output; hidden files and those of
    other suffixes are passed over. Patterns are expanded in the same way. A file that is found twice counts once.

    Args:
        inputs: files, folders and glob patterns.
        suffixes: lower case, with the dot.

    Returns:
        The files, in the order of the inputs and sorted within each, and the inputs that stand for nothing.
    """
    expected = ", ".join(sorted(suffixes))
    files, failures, seen = [], [], set()
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = _in_folder(path, suffixes)
            problem = f"the folder holds no file with one of the suffixes {expected}"
        elif path.exists():
            found = [(path, Path(path.stem))] if path.suffix.lower() in suffixes else []
            problem = f"has the suffix {path.suffix!r}; expected one of {expected}"
        elif glob.has_magic(text):
            found, problem = [], f"the pattern matches no file with one of the suffixes {expected}"
            for match in map(Path, sorted(glob.glob(text, recursive=True))):
                if match.is_dir():
                    found += _in_folder(match, suffixes)
                elif match.suffix.lower() in suffixes:
                    found.append((match, Path(match.stem)))
        else:
            found, problem = [], "no such file or folder"
        if not found:
            failures.append(Failure(text, problem))
        for file, name in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                files.append(Found(file, name))
    return files, failures


def find_media(inputs: list[str]) -> tuple[list[Job], list[Failure]]:
    """Finds the images, videos and meshes that the arguments of a command stand for; see `find_files`."""
    from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES, media_kind

    files, failures = find_files(inputs, MEDIA_SUFFIXES)
    return [Job(file.path, file.name, media_kind(file.path)) for file in files], failures


def _in_folder(folder: Path, suffixes: frozenset[str]) -> list[tuple[Path, Path]]:
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            found.append((path, relative.with_suffix("")))
    return found


def assign_outputs(
    jobs: list[Job], output: Path, suffix: Callable[[Job], str], overwrite: bool
) -> tuple[list[Job], list[Failure]]:
    """
    Gives every job its target in the folder `output`.

    Returns:
        The jobs to do, and those whose target exists already although `overwrite` is off.

    Raises:
        UsageError: `output` cannot be a folder, two jobs have one target, or a target is an input.
    """
    check_output_folder(output)
    sources = {job.path.resolve() for job in jobs}
    owners: dict[Path, Job] = {}
    ready, failures = [], []
    for job in jobs:
        # Appended, not replaced: a name such as "v1.5" has no suffix.
        target = output / job.name.with_name(job.name.name + suffix(job))
        if target in owners:
            raise UsageError(
                f"{owners[target].path} and {job.path} would both be written to {target}; rename one, or give "
                "them in separate calls with different --output"
            )
        if target.resolve() in sources:
            raise UsageError(f"{target} is one of the inputs and would be overwritten; give another --output")
        owners[target] = job
        if target.exists() and not overwrite:
            failures.append(Failure(str(job.path), f"its output {target} exists; use --overwrite to replace it"))
        else:
            ready.append(replace(job, target=target))
    return ready, failures


def check_output_folder(output: Path) -> None:
    """
    Checks that a folder can be written to.

    Raises:
        UsageError: `output`, or what it would be created in, is a file.
    """
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"--output: {existing} is a file; expected a folder")


def run_jobs(jobs: list[Job], failures: list[Failure], work: Callable[[Job], Result], verb: str) -> list[Result]:
    """
    Does the work on one file after another; a file that fails is named, added to `failures`, and the next one follows.

    Returns:
        What `work` returned, of the files that did not fail.
    """
    from torch import OutOfMemoryError

    results = []
    with progress_bar() as progress:
        task = progress.add_task(verb, total=len(jobs))
        for job in jobs:
            progress.update(task, description=f"{verb} {escape(job.path.name)}")
            try:
                results.append(work(job))
            except (*EXPECTED_ERRORS, OutOfMemoryError) as error:
                failures.append(Failure(str(job.path), one_line(error)))
                say(f"skipped {job.path}")
            progress.advance(task)
    return results


def list_failures(failures: list[Failure], total: int) -> None:
    """Prints what failed, one line each."""
    if failures:
        say(f"{len(failures)} of {total} failed:")
    for failure in failures:
        # Most messages of readers name the file already.
        known = os.fspath(failure.file) in failure.error
        say(f"  {failure.error}" if known else f"  {failure.file}: {failure.error}")
