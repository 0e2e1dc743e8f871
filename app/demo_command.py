"""`atoken demo`: media, reconstructed by several models, generated images and answers, on a page."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atoken_headers.generator_folders import (
    embedded_generators,
    embedded_object_generators,
    embedded_text_generators,
)
from atoken_headers.model_folders import ANSWERING_MODEL, DEFAULT_MODEL, DISCRETE_MODEL, is_embedded
from atoken_headers.shipped import EXAMPLE_MEDIA

from .console import progress_bar, say
from .errors import UsageError
from .jobs import Job, check_output_folder, find_media, list_failures, run_jobs
from .loading import chosen_device, load
from .options import AsJson, Device, DeviceName, Dtype, DtypeName, OutputFolder
from .rows import ReconstructedRow
from .tables import quality_table, report

if TYPE_CHECKING:
    from atoken.pages import comparison

PAGE_NOTE = "PSNR and SSIM are of 8-bit RGB; bits per pixel count all that is stored, latents (bfloat16) or codes."


def demo(
    output: OutputFolder = Path("demo"),
    media: Annotated[
        Path | None,
        typer.Option(
            "--media", help="Folder of images, videos and meshes. Default: examples/media.", show_default=False
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help=f"Model to show; may be repeated. Default: the embedded {DEFAULT_MODEL} and {DISCRETE_MODEL}.",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output folder even if it is not an earlier demo.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Reconstruct example photos, a clip and a 3D object; print a table and write a page, index.html.

    Without --media and --model it also shows images, clips and objects that the embedded generators make, and
    what the embedded multimodal language model answers about drawn scenes.
    """
    from atoken.pages.comparison import is_comparison, write_page
    from atoken.tokenizing.files import NewFolder, folder_of

    output, media = output.absolute(), media or EXAMPLE_MEDIA
    check_output_folder(output)
    page = output / "index.html"
    if output.is_dir() and any(output.iterdir()):
        if not is_comparison(page) and not overwrite:
            raise ValueError(f"--output: {output} holds other files; use --overwrite to replace it")
        if any(output in (path, *path.parents) for path in (Path.cwd(), media.resolve())):
            raise UsageError(f"--output: {output} holds the media or the current folder; give another one")
    jobs, record = find_media([str(media)])
    rows: list[ReconstructedRow] = []
    if jobs:
        from .demo_jobs import Shown, show_media, show_object

        loaded = [load(name, device, dtype) for name in models or [DEFAULT_MODEL, DISCRETE_MODEL]]

        def work(job: Job) -> Shown:
            return (show_object if job.kind == "object" else show_media)(loaded, job, folder, media)

        with ExitStack() as stack:
            stack.enter_context(folder_of(output))
            folder = stack.enter_context(NewFolder(output))
            shown = run_jobs(jobs, record, work, "reconstructing")
            if not shown:
                list_failures(record)
                raise ValueError(f"--media: no file of {media} could be reconstructed")
            sections = [each.section for each in shown]
            introduction = "Media encoded to tokens and decoded again, at their native size. " + PAGE_NOTE
            if media == EXAMPLE_MEDIA and not models:
                introduction = "Photos, a clip and an object that no model here was trained on. " + introduction
                sections += _generated(folder, chosen_device(device))
                sections += _answered(folder, chosen_device(device))
            write_page(folder, sections, media / "LICENSES.md", introduction)
        rows = [row for each in shown for row in each.rows]
        say(f"the page: {page}")
    report(rows, record, as_json, quality_table, {"page": str(page) if rows else None})


def _generated(folder: Path, device: str) -> "list[comparison.Row]":
    """Generates images, clips and objects with the embedded generators that are there."""
    of_classes, of_texts, of_pictures = embedded_generators(), embedded_text_generators(), embedded_object_generators()
    if not of_classes and not of_texts and not of_pictures:
        return []
    from .demo_generators import show_generator
    from .demo_objects import show_objects
    from .demo_texts import show_texts

    rows = []
    with progress_bar() as bar:
        for name in bar.track([*of_classes, *of_texts, *of_pictures], description="generating"):
            if name in of_texts:
                rows += show_texts(name, folder, device)
            else:
                rows.append((show_objects if name in of_pictures else show_generator)(name, folder, device))
    return rows


def _answered(folder: Path, device: str) -> "list[comparison.Row]":
    """Asks the embedded multimodal language model, where it is there."""
    if not is_embedded(ANSWERING_MODEL):
        return []
    from .demo_answers import show_answers

    return [show_answers(ANSWERING_MODEL, folder, device)]
