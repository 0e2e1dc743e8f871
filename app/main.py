"""The `atoken` command: images, videos and 3D objects to latents, codes and embeddings, and back.

Torch and the models are imported inside the commands, so that mistakes in the options need not wait for them. Every
image and video goes through `encode_stream` and `decode_stream`, an image as a video of one frame, so that memory does
not grow with the length of a video.
"""

import functools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from atoken.tokenizing.streams import Tokenizer, find_media, load_tokenizer

from .evaluate_command import evaluate
from .jobs import (
    EXPECTED_ERRORS,
    Failure,
    Job,
    UsageError,
    assign_outputs,
    check_output_folder,
    find_files,
    list_failures,
    one_line,
    run_jobs,
    say,
)
from .options import (
    DEFAULT_MODEL,
    DISCRETE_MODEL,
    AsJson,
    Device,
    DeviceName,
    Dtype,
    DtypeName,
    Fps,
    Inputs,
    LatentDtype,
    ModelName,
    ModelOutput,
    OutputFolder,
    Overwrite,
    OverwriteModel,
    Quantizer,
)
from .render_command import render
from .tables import (
    decoded_table,
    fact_groups,
    print_json,
    quality_table,
    readable,
    report,
    similarity_table,
    standard_output,
    stored_table,
)

# Comes with a source tree.
EXAMPLE_MEDIA = Path(__file__).resolve().parent.parent / "examples" / "media"

LATENTS_SUFFIX = ".safetensors"
OUTPUT_SUFFIXES = {"image": ".png", "video": ".mp4", "object": ".ply"}

PAGE_NOTE = "PSNR and SSIM are of 8-bit RGB; bits per pixel count all that is stored, latents (bfloat16) or codes."
RESEARCH_ONLY = "Converted official weights are for research only: their licence stays the authors'."

app = typer.Typer(
    help="AToken: one tokenizer for images, videos and 3D objects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Registers a command whose expected errors end as one line on stderr: 2 for wrong usage, 1 for the rest."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            function(*args, **kwargs)
        except UsageError as error:
            say(f"error: {one_line(error)}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error
        except EXPECTED_ERRORS as error:
            say(f"error: {one_line(error)}")
            raise typer.Exit(1) from error

    return app.command()(run)


_command(render)
_command(evaluate)


@_command
def reconstruct(
    inputs: Inputs,
    output: OutputFolder,
    model: ModelName = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    latent_dtype: LatentDtype = Dtype.bfloat16,
    fps: Fps = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """
    Encode and decode: PNG and MP4 files of exactly the size they had, PLY files of Gaussians for meshes, with quality.

    PSNR and SSIM are of 8-bit RGB (data range 255), for videos before they are compressed again as MP4, for meshes over
    8 views of 256 pixels on black. Bits per pixel are those of what `encode` stores, over the true pixels of all
    frames. Seconds are of the model alone.
    """
    jobs, failures = find_media(inputs)
    total = len(jobs) + len(failures)
    jobs, existing = assign_outputs(jobs, output, lambda job: OUTPUT_SUFFIXES[job.kind], overwrite)
    failures += existing
    results, loaded = [], None
    if jobs:
        loaded = load_tokenizer(model, device, dtype)
        from .media_jobs import reconstruct_media
        from .object_jobs import reconstruct_object

        def work(job: Job) -> dict[str, Any]:
            if job.kind == "object":
                return reconstruct_object(loaded, job, latent_dtype.value)
            return reconstruct_media(loaded, job, latent_dtype.value, fps)

        results = run_jobs(jobs, failures, work, "reconstructing")
    report(results, failures, total, as_json, quality_table, _about(loaded))


@_command
def encode(
    inputs: Inputs,
    output: OutputFolder,
    codes: Annotated[
        bool | None,
        typer.Option(
            "--codes/--latents",
            help="What to store. [default: codes of a discrete model, latents of a continuous one]",
            show_default=False,
        ),
    ] = None,
    model: ModelName = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    latent_dtype: LatentDtype = Dtype.bfloat16,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write latents or codes, one .safetensors file per image, video or mesh, with all that `decode` needs to know."""
    jobs, failures = find_media(inputs)
    total = len(jobs) + len(failures)
    jobs, existing = assign_outputs(jobs, output, lambda job: LATENTS_SUFFIX, overwrite)
    failures += existing
    results, loaded = [], None
    if jobs:
        loaded = load_tokenizer(model, device, dtype)
        if codes and not loaded.discrete:
            raise UsageError(f"--codes needs a discrete model, but {loaded.name} has no quantizer; use --latents")
        content = "codes" if codes or (codes is None and loaded.discrete) else "latents"
        from .media_jobs import encode_media
        from .object_jobs import encode_object

        def work(job: Job) -> dict[str, Any]:
            encode_job = encode_object if job.kind == "object" else encode_media
            return encode_job(loaded, job, content, latent_dtype.value)

        results = run_jobs(jobs, failures, work, "encoding")
    report(results, failures, total, as_json, stored_table, _about(loaded))


@_command
def decode(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files that `encode` wrote: files, folders and globs.")
    ],
    output: OutputFolder,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Where the model is now. [default: where each file says]", show_default=False),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    fps: Fps = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Turn stored latents or codes back into PNG, MP4 and PLY files, with the model they were written by."""
    from atoken.tokenizing.latent_files import read_header

    from .media_jobs import decode_media
    from .object_jobs import decode_object

    jobs, failures = find_files(inputs, frozenset({LATENTS_SUFFIX}))
    total = len(jobs) + len(failures)
    readable = []
    for job in jobs:
        try:
            job.header = read_header(job.path)
            job.kind = job.header.kind
            readable.append(job)
        except EXPECTED_ERRORS as error:
            failures.append(Failure(str(job.path), one_line(error)))
    jobs, existing = assign_outputs(readable, output, lambda job: OUTPUT_SUFFIXES[job.kind], overwrite)
    failures += existing
    given = load_tokenizer(model, device, dtype) if jobs and model is not None else None
    # Only the model in use is kept: two large ones may not fit.
    last: dict[str, Tokenizer] = {}

    def work(job: Job) -> dict[str, Any]:
        name = job.header.model
        if given is None and name not in last:
            last.clear()
            try:
                last[name] = load_tokenizer(name, device, dtype)
            except EXPECTED_ERRORS as error:
                raise ValueError(f"written by the model {name!r}, but {error}; if it has moved, say --model") from error
        tokenizer = given or last[name]
        return decode_object(tokenizer, job) if job.kind == "object" else decode_media(tokenizer, job, fps)

    results = run_jobs(jobs, failures, work, "decoding") if jobs else []
    report(results, failures, total, as_json, decoded_table, _about(given))


@_command
def embed(
    inputs: Inputs,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text to compare with; may be repeated.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .safetensors file to write.", show_default=False)
    ] = None,
    model: ModelName = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """
    Embeddings, one per image, video or mesh, pooled and L2-normalised, and their cosine similarities with texts.

    The file holds `embeddings` (files, d) and, with texts, `text_embeddings` (texts, d) and `similarities` (files,
    texts); the names of files and texts are in its metadata. With --json and without --output the embeddings are
    printed.
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
    jobs, failures = find_media(inputs)
    total = len(jobs) + len(failures)
    results, loaded, vectors, texts = [], None, [], None
    if jobs:
        loaded = load_tokenizer(model, device, dtype)
        from .media_jobs import embed_media, embed_texts

        texts = embed_texts(loaded, text) if text else None
        if loaded.model.vision_model.head is None:
            raise ValueError(f"--model: {loaded.name} has no pooling head, so there are no embeddings")

        def work(job: Job) -> dict[str, Any]:
            vector = embed_media(loaded, job)
            vectors.append(vector)
            result = {"file": str(job.path), "kind": job.kind}
            if texts is not None:
                result["similarities"] = dict(zip(text, (texts @ vector).tolist(), strict=True))
            return result if output is not None else {**result, "embedding": vector.tolist()}

        results = run_jobs(jobs, failures, work, "embedding")
    about = _about(loaded)
    if results and output is not None:
        import torch

        from atoken.tokenizing.files import folder_of
        from atoken.tokenizing.latent_files import write_embeddings

        with folder_of(output):
            write_embeddings(output, torch.stack(vectors), texts, [result["file"] for result in results], text or [])
        about["output"] = str(output)
    report(results, failures, total, as_json, similarity_table, about)


@_command
def info(
    target: Annotated[
        str | None, typer.Argument(metavar="[MODEL|FILE]", help="A model, or a file that `encode` wrote.")
    ] = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Describe a model (sizes, parameters, tokens, files), or a file of latents or codes. No weights are read."""
    if target is not None and model is not None:
        raise UsageError("give a model as argument or as --model, not both")
    if target is not None and Path(target).is_file():
        from atoken.tokenizing.latent_files import read_header

        try:
            header = read_header(target)
        except ValueError as error:
            raise ValueError(f"{target}: {error}") from error
        facts = {"file": target, **asdict(header), "tokens": header.tokens, "shape": list(header.shape)}
    else:
        from atoken.tokenizing.loading import describe_model

        facts = describe_model(target or model or DEFAULT_MODEL)
    if as_json:
        print_json(facts)
        return
    console = standard_output()
    for title, group in fact_groups(facts).items():
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in group.items():
            table.add_row(name, readable(value))
        console.print(table)


@_command
def convert(
    file: Annotated[Path, typer.Argument(help="The official .pt file.")],
    out: ModelOutput,
    quantizer: Annotated[
        Quantizer | None,
        typer.Option("--quantizer", help="fsq for atoken-sod, which tensors do not show.", show_default=False),
    ] = None,
    encoder_num_heads: Annotated[
        int | None,
        typer.Option(
            "--encoder-num-heads",
            min=1,
            help="Heads of the encoder, which tensors do not show. [default: those of the official sizes]",
            show_default=False,
        ),
    ] = None,
    text_tower: Annotated[
        str | None,
        typer.Option("--text-tower", help="SigLIP2 model whose text tower goes along.", show_default=False),
    ] = None,
    gaussian_decoder: Annotated[
        Path | None,
        typer.Option(
            "--gaussian-decoder", help="Official 3D Gaussian decoder .pt that goes along.", show_default=False
        ),
    ] = None,
    gaussian_num_heads: Annotated[
        int | None,
        typer.Option(
            "--gaussian-num-heads", min=1, help="Its heads. [default: those of the official size]", show_default=False
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option("--dtype", help="What to store. [default: as computed, float32]", show_default=False)
    ] = None,
    overwrite: OverwriteModel = False,
    as_json: AsJson = False,
) -> None:
    """Convert an official AToken file to a folder that `--model` and `from_pretrained` take."""
    if gaussian_num_heads is not None and gaussian_decoder is None:
        raise UsageError("--gaussian-num-heads needs --gaussian-decoder")
    out = out.absolute()
    _check_model_output(out, overwrite)
    import torch

    from atoken.conversion_atoken import convert_original_checkpoint
    from atoken.gaussian_conversion_atoken import attach_gaussian_decoder, convert_original_gaussian_decoder
    from atoken.processing import AtokenProcessor
    from atoken.tokenizing.files import NewFolder, folder_of
    from atoken.tokenizing.loading import quieten_libraries

    quieten_libraries()
    gaussians = None
    if gaussian_decoder is not None:
        try:
            gaussians = convert_original_gaussian_decoder(gaussian_decoder, num_heads=gaussian_num_heads)
        except EXPECTED_ERRORS as error:
            raise ValueError(f"--gaussian-decoder: {error}") from error
    converted = convert_original_checkpoint(
        file,
        quantizer=quantizer.value if quantizer else None,
        encoder_num_heads=encoder_num_heads,
        text_tower=text_tower,
    )
    if gaussians is not None:
        attach_gaussian_decoder(converted, gaussians)
    if dtype is not None:
        converted = converted.to(getattr(torch, dtype.value))
    processor = AtokenProcessor(tokenizer=_tokenizer_of(text_tower) if text_tower else None)
    with folder_of(out), NewFolder(out) as folder:
        converted.save_pretrained(folder)
        processor.save_pretrained(folder)
    say(RESEARCH_ONLY)
    parameters = sum(parameter.numel() for parameter in converted.parameters())
    facts = {"file": str(file), "output": str(out), "parameters": parameters, "note": RESEARCH_ONLY}
    if as_json:
        print_json(facts)
    else:
        standard_output().print(f"{file} -> {out} ({readable(parameters)} parameters)", markup=False, highlight=False)


@_command
def export(
    model: Annotated[str, typer.Argument(help="Folder, embedded checkpoint or Hub name.")],
    out: ModelOutput,
    name: Annotated[
        str | None, typer.Option("--name", help="For the card. [default: that of --push or OUT]", show_default=False)
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="Of the weights, as the Hub names it. [default: what config.json states]",
            show_default=False,
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluation", help="Scores for the card. [default: MODEL/training.json if there]", show_default=False
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option("--dtype", help="What to store. [default: as in MODEL]", show_default=False)
    ] = None,
    max_shard_size: Annotated[str, typer.Option("--max-shard-size", help="Larger weights are split.")] = "5GB",
    push: Annotated[
        str | None, typer.Option("--push", metavar="REPO", help="Upload to this Hub repository.", show_default=False)
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that repository private.")] = False,
    overwrite: OverwriteModel = False,
    as_json: AsJson = False,
) -> None:
    """Write a complete Hub repository: weights, processor, code for trust_remote_code, vae/ for diffusers, a card."""
    from atoken.tokenizing.files import NewFolder, folder_of
    from atoken.tokenizing.loading import find_model

    from .publishing import OFFICIAL_LICENSE, push_repository, read_evaluation, write_repository

    out = out.absolute()
    _check_model_output(out, overwrite)
    folder, label = find_model(model)
    if out.resolve() == folder.resolve():
        raise UsageError(f"OUT: {out} is MODEL itself; give another folder")
    if evaluation is None and (folder / "training.json").is_file():
        evaluation = folder / "training.json"
    scores = read_evaluation(evaluation) if evaluation is not None else None
    loaded = load_tokenizer(model, Device.cpu, dtype)
    stated = loaded.model.config.weights_license
    if stated == OFFICIAL_LICENSE and license not in (None, stated):
        raise UsageError(f"--license: {label} holds converted official weights, whose licence stays {stated}")
    if (license or stated) is None:
        raise UsageError(
            f"--license: {label} states none in config.json (weights_license); give one, such as apache-2.0"
        )
    loaded.model.config.weights_license = license or stated
    name = name or push or out.name
    with folder_of(out), NewFolder(out) as repository:
        write_repository(
            loaded.model, loaded.processor, repository, name, license or stated, scores, max_shard_size=max_shard_size
        )
    facts = {"model": label, "output": str(out), "license": license or stated}
    if push is not None:
        facts["pushed"] = push_repository(out, push, private)
    if as_json:
        print_json(facts)
    else:
        standard_output().print(f"{label} -> {facts.get('pushed', out)}", markup=False, highlight=False)


@_command
def demo(
    output: OutputFolder = Path("demo"),
    media: Annotated[
        Path | None,
        typer.Option("--media", help="Folder of images, videos, meshes. [default: examples/media]", show_default=False),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help=f"May be repeated. [default: the embedded {DEFAULT_MODEL} and {DISCRETE_MODEL}]",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is no earlier demo.")] = False,
    as_json: AsJson = False,
) -> None:
    """Reconstruct photos, a clip and an object: a table, and a page to look at, index.html."""
    from atoken.pages.comparison import GENERATOR, write_page
    from atoken.tokenizing.files import NewFolder, folder_of

    output, media = output.absolute(), media or EXAMPLE_MEDIA
    check_output_folder(output)
    page = output / "index.html"
    if output.is_dir() and any(output.iterdir()):
        earlier = page.is_file() and GENERATOR in page.read_text(encoding="utf-8", errors="replace")
        if not earlier and not overwrite:
            raise ValueError(f"--output: {output} holds other files; use --overwrite to replace it")
        if any(output in (path, *path.parents) for path in (Path.cwd(), media.resolve())):
            raise UsageError(f"--output: {output} holds the media or the current folder; give another one")
    jobs, failures = find_media([str(media)])
    total = len(jobs) + len(failures)
    results: list[dict[str, Any]] = []
    if jobs:
        from .media_jobs import demo_row
        from .object_jobs import demo_object_row

        loaded = [load_tokenizer(name, device, dtype) for name in models or [DEFAULT_MODEL, DISCRETE_MODEL]]

        def work(job: Job) -> dict[str, Any]:
            return (demo_object_row if job.kind == "object" else demo_row)(loaded, job, folder, media)

        with ExitStack() as stack:
            stack.enter_context(folder_of(output))
            folder = stack.enter_context(NewFolder(output))
            rows = run_jobs(jobs, failures, work, "reconstructing")
            if not rows:
                list_failures(failures, total)
                raise ValueError(f"--media: no file of {media} could be reconstructed")
            introduction = "Media encoded to tokens and decoded again, at their native size. " + PAGE_NOTE
            if media == EXAMPLE_MEDIA and not models:
                introduction = "Photos, a clip and an object that no model here was trained on. " + introduction
            write_page(folder, rows, media / "LICENSES.md", introduction)
        results = [result for row in rows for result in row["results"]]
        say(f"the page: {page}")
    report(results, failures, total, as_json, quality_table, {"page": str(page) if results else None})


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _check_model_output(out: Path, overwrite: bool) -> None:
    """Raises ValueError if a folder of a model cannot be written to `out`."""
    from atoken.tokenizing.loading import is_model_folder

    check_output_folder(out)
    replaced = out.is_dir() and any(out.iterdir())
    if replaced and not overwrite:
        raise ValueError(f"OUT: {out} exists and is not empty; use --overwrite to replace it")
    if replaced and not is_model_folder(out):
        raise ValueError(f"OUT: {out} is no AToken model folder, so it is not replaced; remove it or give another")


def _tokenizer_of(source: str) -> Any:
    """The tokenizer beside a text tower, None if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except EXPECTED_ERRORS:
        say(f"{source} has no tokenizer: the model will take token ids, but no texts")
        return None


def _about(loaded: Tokenizer | None) -> dict[str, Any]:
    if loaded is None:
        return {}
    parameter = loaded.model.latent_proj.weight
    return {
        "model": loaded.name,
        "fingerprint": loaded.fingerprint,
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
    }


if __name__ == "__main__":
    main()
