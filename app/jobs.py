"""Many files through one command: which to read, where to write, and what went wrong with which."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

from rich.markup import escape

from atoken_headers.latents import LatentHeader

from .caught_warnings import caught_warnings
from .console import printable, progress_bar, say
from .errors import UsageError, described, one_line

_SHOWN_NAMES = 10


class CanCarryWarnings(Protocol):
    """Describes what the work on a file may return: a row, or what holds rows."""

    def with_warnings(self, warnings: list[str]) -> Self:
        """Gives the same with what readers warned about."""
        ...


Result = TypeVar("Result", bound=CanCarryWarnings)


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
    """Names a file that could not be used, and says why; `warnings` are what its readers said before."""

    file: str
    error: str
    warnings: list[str] = field(default_factory=list)


@dataclass
class Record:
    """
    Collects what became of the inputs of a command beside its results; it holds names and messages only.

    Attributes:
        total: the files to work on, and the inputs that stand for none.
        failures: those that could not be used.
        passed_over: files of folders and patterns that have none of the suffixes.
    """

    total: int = 0
    failures: list[Failure] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def find_files(inputs: list[str], suffixes: frozenset[str]) -> tuple[list[Found], Record]:
    """
    Finds the files that the arguments of a command stand for.

    Folders are searched with all they contain, and their structure is kept in the output; those of other suffixes are
    passed over and recorded, hidden ones passed over without a word. Patterns are expanded in the same way. A file that
    is found twice counts once.

    Args:
        inputs: files, folders and glob patterns.
        suffixes: lower case, with the dot.

    Returns:
        The files, in the order of the inputs and sorted within each, and a record of the others.
    """
    expected = ", ".join(sorted(suffixes))
    files, seen, passed_over, record = [], set(), {}, Record()
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found, others = _in_folder(path, suffixes)
            passed_over.update(others)
            problem = f"the folder holds no file with one of the suffixes {expected}"
        elif path.exists():
            found = [(path, Path(path.stem))] if path.suffix.lower() in suffixes else []
            problem = f"has the suffix {path.suffix!r}; expected one of {expected}"
        elif glob.has_magic(text):
            found, problem = [], f"the pattern matches no file with one of the suffixes {expected}"
            for match in map(Path, sorted(glob.glob(text, recursive=True))):
                if match.is_dir():
                    inside, others = _in_folder(match, suffixes)
                    found += inside
                    passed_over.update(others)
                elif match.suffix.lower() in suffixes:
                    found.append((match, Path(match.stem)))
                else:
                    passed_over[match] = None
        else:
            found, problem = [], "no such file or folder"
        if not found:
            record.failures.append(Failure(text, problem))
        for file, name in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                files.append(Found(file, name))
    record.total = len(files) + len(record.failures)
    record.passed_over = list(map(str, passed_over))
    return files, record


def find_media(inputs: list[str]) -> tuple[list[Job], Record]:
    """Finds the images, videos and meshes that the arguments of a command stand for; see `find_files`."""
    from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES, media_kind

    files, record = find_files(inputs, MEDIA_SUFFIXES)
    return [Job(file.path, file.name, media_kind(file.path)) for file in files], record


def _in_folder(folder: Path, suffixes: frozenset[str]) -> tuple[list[tuple[Path, Path]], dict[Path, None]]:
    """Files below a folder with where their output goes, and those of other suffixes, in order."""
    found, others = [], {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() in suffixes:
            found.append((path, relative.with_suffix("")))
        else:
            others[path] = None
    return found, others


def assign_outputs(
    jobs: list[Job], output: Path, suffix: Callable[[Job], str], overwrite: bool, record: Record
) -> list[Job]:
    """
    Gives every job its target in the folder `output`.

    Returns:
        The jobs to do; those whose target exists already although `overwrite` is off are recorded as failures.

    Raises:
        UsageError: `output` cannot be a folder, two jobs have one target, or a target is an input.
    """
    check_output_folder(output)
    sources = {job.path.resolve() for job in jobs}
    owners: dict[Path, Job] = {}
    ready = []
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
            record.failures.append(Failure(str(job.path), f"its output {target} exists; use --overwrite to replace it"))
        else:
            ready.append(replace(job, target=target))
    return ready


def check_output_folder(output: Path) -> None:
    """
    Checks that a folder can be written to.

    Raises:
        UsageError: `output`, or what it would be created in, is a file.
    """
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"--output: {existing} is a file; expected a folder")


def run_jobs(jobs: list[Job], record: Record, work: Callable[[Job], Result], verb: str) -> list[Result]:
    """
    Does the work on one file after another; a file that fails, for whatever reason, is named and recorded, and the next
    one follows.

    Returns:
        What `work` returned, of the files that did not fail, with what readers warned about.
    """
    from atoken.processing.media_warnings_atoken import MediaWarning

    results = []
    with progress_bar() as progress, caught_warnings(MediaWarning) as texts:
        task = progress.add_task(verb, total=len(jobs))
        for job in jobs:
            progress.update(task, description=f"{verb} {escape(printable(job.path.name))}")
            texts.clear()
            try:
                results.append(work(job).with_warnings(list(texts)))
            except Exception as error:
                record.failures.append(Failure(str(job.path), described(error), list(texts)))
                say(f"skipped {job.path}")
            progress.advance(task)
    return results


def list_warnings(warned: dict[str, list[str]], total: int) -> None:
    """Prints what readers warned about, by file."""
    if warned:
        say(f"{len(warned)} of {total} read with warnings:")
    for file, texts in warned.items():
        for text in texts:
            say(_about(file, one_line(text)))


def list_failures(record: Record) -> None:
    """Prints what was passed over, and what failed, one line each."""
    count = len(record.passed_over)
    if count:
        more = f" and {count - _SHOWN_NAMES} more" if count > _SHOWN_NAMES else ""
        names = ", ".join(record.passed_over[:_SHOWN_NAMES])
        say(f"passed over {count} file{'s' if count > 1 else ''} with other suffixes: {names}{more}")
    if record.failures:
        say(f"{len(record.failures)} of {record.total} failed:")
    for failure in record.failures:
        say(_about(failure.file, failure.error))


def _about(file: str, text: str) -> str:
    # Most messages of readers name the file already.
    return f"  {text}" if os.fspath(file) in text else f"  {file}: {text}"
