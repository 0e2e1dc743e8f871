"""`atoken ask`: answers about images and videos by a multimodal language model."""

from pathlib import Path
from typing import Annotated

import typer

from atoken_headers.model_folders import ANSWERING_MODEL

from .errors import UsageError, naming
from .jobs import find_media
from .loading import chosen_device
from .options import AsJson, Device, DeviceName, Dtype, DtypeName

EXAMPLE = 'atoken ask photo.jpg "What is this?"'


def ask(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... QUESTION",
            help="Images and videos (files, folders or glob patterns), and last the question about them.",
        ),
    ],
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="A further question about the same files; may be repeated.", show_default=False),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Ask about each file alone. Default: about all of them together.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Folder, Hub name, or name of an embedded checkpoint of a multimodal language model. Default: the "
            f"embedded {ANSWERING_MODEL}.",
            show_default=False,
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Tokens of an answer, at most.")] = 128,
    max_frames: Annotated[
        int | None,
        typer.Option(
            "--max-frames", min=1, help="Frames of a video, at most. Default: the model's.", show_default=False
        ),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    as_json: AsJson = False,
) -> None:
    """
    Answer questions about images and videos.

    All files are shown together, in the order given, so that a question can
    compare them; --each asks about one after another. Each question is asked
    by itself. The likeliest answer is given, which is the same every time.
    """
    files, questions = arguments[:-1], [arguments[-1], *(also or [])]
    _check_arguments(files, questions)
    target = chosen_device(device)
    jobs, record = find_media(files)

    from .ask_jobs import Asked, ask_about_each, ask_together, refuse_objects, report_answers

    jobs = refuse_objects(jobs, record)
    if record.failures and not each:
        failure = record.failures[0]
        raise ValueError(f"FILE: {failure.file}: {failure.error}")
    facts, rows = {}, []
    if jobs:
        with naming("--model"):
            from atoken.evaluation.answering import load_answerer

            loaded = load_answerer(model, target, dtype.value)
        asked = Asked(loaded, questions, max_new_tokens, max_frames)
        rows = ask_about_each(asked, jobs, record) if each else ask_together(asked, jobs)
        facts = {"model": loaded.name, "fingerprint": loaded.fingerprint, "device": target, "dtype": dtype.value}
    report_answers(rows, record, facts, as_json)


def _check_arguments(files: list[str], questions: list[str]) -> None:
    if _is_file(questions[0]):
        raise UsageError(
            f"QUESTION: it is missing, as the last argument is the file {questions[0]}; for example: {EXAMPLE}"
        )
    if not files:
        raise UsageError(f"FILE: give at least one image or video before the question; for example: {EXAMPLE}")
    if not all(question.strip() for question in questions):
        raise UsageError(f"QUESTION: it must not be empty; for example: {EXAMPLE}")


def _is_file(text: str) -> bool:
    """Tells whether an argument is a file, or looks like one that is not there."""
    from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES

    try:
        return bool(text) and Path(text).exists() or (" " not in text and Path(text).suffix.lower() in MEDIA_SUFFIXES)
    except OSError:
        return False  # too long for a name
