"""The work of `atoken ask`: reading files, asking about them together or one by one, and showing the answers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import typer

from atoken.evaluation.answering import LoadedAnswerer, answer, read_medium
from atoken.processing.media_warnings_atoken import MediaWarning

from .caught_warnings import caught_warnings
from .console import print_json, progress_bar, standard_output, tell
from .jobs import Failure, Job, Record, list_failures, list_warnings, run_jobs
from .tables import text_table


@dataclass(frozen=True)
class Asked:
    """
    Says what is asked of whom.

    Attributes:
        loaded: who answers.
        questions: each is asked by itself.
        max_new_tokens: of an answer.
        max_frames: of a video; None for the processor's own number.
    """

    loaded: LoadedAnswerer
    questions: list[str]
    max_new_tokens: int
    max_frames: int | None


@dataclass(frozen=True)
class AnsweredRow:
    """Holds one question about files, which were shown together, and its answer."""

    files: list[str]
    question: str
    answer: str
    prompt_tokens: int
    seconds: float
    warnings: list[str]


@dataclass(frozen=True)
class AnsweredFile:
    """Holds the answers about one file."""

    rows: list[AnsweredRow]

    def with_warnings(self, warnings: list[str]) -> Self:
        """Gives the same with what readers warned about in every row."""
        return replace(self, rows=[replace(row, warnings=warnings) for row in self.rows])


def refuse_objects(jobs: list[Job], record: Record) -> list[Job]:
    """Gives the images and videos; 3D objects are recorded as failures."""
    for job in jobs:
        if job.kind == "object":
            record.failures.append(
                Failure(str(job.path), "is a 3D object; ask about its pictures, which `atoken render` makes")
            )
    return [job for job in jobs if job.kind != "object"]


def ask_together(asked: Asked, jobs: list[Job]) -> list[AnsweredRow]:
    """Shows all files in one prompt and asks one question after another."""
    with progress_bar() as bar, caught_warnings(MediaWarning) as texts:
        task = bar.add_task("answering", total=len(asked.questions))
        rows = _answers(asked, jobs, lambda: bar.advance(task))
        return [replace(row, warnings=list(texts)) for row in rows]


def ask_about_each(asked: Asked, jobs: list[Job], record: Record) -> list[AnsweredRow]:
    """Asks about one file after another; one that fails is recorded, and the next one follows."""
    answered = run_jobs(jobs, record, lambda job: AnsweredFile(_answers(asked, [job])), "answering about")
    return [row for each in answered for row in each.rows]


def _answers(asked: Asked, jobs: list[Job], on_answer: Callable[[], None] = lambda: None) -> list[AnsweredRow]:
    media = [read_medium(asked.loaded, job.path, job.kind, asked.max_frames) for job in jobs]
    rows = []
    for question in asked.questions:
        given = answer(asked.loaded, media, question, asked.max_new_tokens)
        files = [str(job.path) for job in jobs]
        rows.append(AnsweredRow(files, question, given.text, given.prompt_tokens, given.seconds, []))
        on_answer()
    return rows


def report_answers(rows: list[AnsweredRow], record: Record, facts: dict[str, Any], as_json: bool) -> None:
    """
    Prints an answer alone, several as a table, or all as JSON; then what readers warned about and what failed, and ends
    with exit code 1 if anything did.
    """
    if as_json:
        lists = {"results": rows, "failures": record.failures}
        listed = {name: [asdict(each) for each in values] for name, values in lists.items()}
        print_json({**facts, **listed, "passed_over": record.passed_over})
    elif len(rows) == 1:
        tell(rows[0].answer)
    elif rows:
        cells = [[", ".join(row.files), row.question, row.answer] for row in rows]
        alike = len({tuple(row.files) for row in rows}) == 1
        heading = ["file", "question", "answer"][alike:]
        standard_output().print(text_table(heading, [cell[alike:] for cell in cells], numbers=False))
    warned = {", ".join(row.files): row.warnings for row in rows if row.warnings}
    warned |= {failure.file: failure.warnings for failure in record.failures if failure.warnings}
    list_warnings(warned, record.total)
    list_failures(record)
    if record.failures:
        raise typer.Exit(1)
