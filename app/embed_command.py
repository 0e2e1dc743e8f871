"""`atoken embed`: media to embeddings, compared with texts."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import UsageError, naming
from .jobs import Job, check_output_folder, find_media, run_jobs
from .loading import load
from .options import LATENTS_SUFFIX, AsJson, Device, DeviceName, Dtype, DtypeName, Inputs, ModelName, Overwrite
from .rows import EmbeddedRow
from .tables import about, report, similarity_table


def embed(
    inputs: Inputs,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help="A text to compare with; may be repeated. Needs a model with a text tower.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The .safetensors file to write. Give this, --json, or both.", show_default=False
        ),
    ] = None,
    model: ModelName = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """
    Embed images, videos and meshes, and compare them with texts by cosine similarity.

    There is one embedding of width d for each file, normalized to length 1.
    The output file holds `embeddings` (files, d) and, if texts are given,
    `text_embeddings` (texts, d) and `similarities` (files, texts). Its metadata
    has the names of the files, and the texts. With --json and without --output,
    the embeddings are printed.
    """
    if output is None and not as_json:
        raise UsageError("give --output FILE.safetensors, --json, or both")
    if output is not None:
        if output.suffix != LATENTS_SUFFIX:
            raise UsageError(f"--output: {output} must end in {LATENTS_SUFFIX}")
        if output.is_dir():
            raise UsageError(f"--output: {output} is a folder; expected a file")
        check_output_folder(output.parent)
        if output.exists() and not overwrite:
            raise ValueError(f"--output: {output} exists; use --overwrite to replace it")
    jobs, record = find_media(inputs)
    rows, loaded, vectors, texts = [], None, [], None
    if jobs:
        from .media_jobs import embed_media, embed_texts

        loaded = load(model, device, dtype)

        if text:
            with naming("--text"):
                texts = embed_texts(loaded, text)
        if loaded.model.vision_model.head is None:
            raise ValueError(f"--model: {loaded.name} has no pooling head, so there are no embeddings")

        def work(job: Job) -> EmbeddedRow:
            vector = embed_media(loaded, job)
            vectors.append(vector)
            similarities = None if texts is None else dict(zip(text, (texts @ vector).tolist(), strict=True))
            embedding = vector.tolist() if output is None else None
            return EmbeddedRow(file=str(job.path), kind=job.kind, similarities=similarities, embedding=embedding)

        rows = run_jobs(jobs, record, work, "embedding")
    facts = about(loaded)
    if rows and output is not None:
        import torch

        from atoken.tokenizing.files import folder_of
        from atoken.tokenizing.latent_files import write_embeddings

        with folder_of(output):
            write_embeddings(output, torch.stack(vectors), texts, [row.file for row in rows], text or [])
        facts["output"] = str(output)
    report(rows, record, as_json, similarity_table, facts)
