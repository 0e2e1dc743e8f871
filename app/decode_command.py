"""`atoken decode`: files of latents or codes back to media."""

from typing import TYPE_CHECKING, Annotated

import typer

from atoken_headers.latents import read_header

from .errors import EXPECTED_ERRORS, one_line
from .jobs import Failure, Job, assign_outputs, find_files, run_jobs
from .loading import load
from .options import (
    LATENTS_SUFFIX,
    OUTPUT_SUFFIXES,
    AsJson,
    Device,
    DeviceName,
    Dtype,
    DtypeName,
    Fps,
    OutputFolder,
    Overwrite,
)
from .rows import DecodedRow
from .tables import about, decoded_table, report

if TYPE_CHECKING:
    from atoken.tokenizing.loading import LoadedModel


def decode(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="What `encode` wrote: files, folders (searched recursively) or glob patterns."
        ),
    ],
    output: OutputFolder,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model to decode with, if it has moved. Default: the model that each file names.",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    fps: Fps = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Decode files of latents or codes to PNG, MP4 and PLY files, with the model that wrote them."""
    files, record = find_files(inputs, frozenset({LATENTS_SUFFIX}))
    readable = []
    for file in files:
        try:
            header = read_header(file.path)
            readable.append(Job(file.path, file.name, header.kind, header=header))
        except EXPECTED_ERRORS as error:
            record.failures.append(Failure(str(file.path), one_line(error)))
    jobs = assign_outputs(readable, output, lambda job: OUTPUT_SUFFIXES[job.kind], overwrite, record)
    given = load(model, device, dtype) if jobs and model is not None else None
    # Only the model in use is kept: two large ones may not fit.
    last: dict[str, LoadedModel] = {}

    def work(job: Job) -> DecodedRow:
        from .media_jobs import decode_media
        from .object_jobs import decode_object

        name = job.header.model
        if given is None and name not in last:
            last.clear()
            try:
                last[name] = load(name, device, dtype)
            except EXPECTED_ERRORS as error:
                raise ValueError(f"written by the model {name!r}, but {error}; if it has moved, say --model") from error
        loaded = given or last[name]
        return decode_object(loaded, job) if job.kind == "object" else decode_media(loaded, job, fps)

    rows = run_jobs(jobs, record, work, "decoding") if jobs else []
    report(rows, record, as_json, decoded_table, about(given))
