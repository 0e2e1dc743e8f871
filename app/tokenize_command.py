"""`atoken tokenize`: a whole corpus of media to shards of latents or codes."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .caught_warnings import caught_warnings
from .console import say
from .errors import UsageError
from .jobs import check_output_folder
from .loading import chosen_device, load, open_autoencoder
from .options import AsCodes, AsJson, Device, DeviceName, Dtype, DtypeName, ModelName
from .shards import shard_of


class Kind(StrEnum):
    image = "image"
    video = "video"
    object = "object"


class Format(StrEnum):
    parquet = "parquet"
    webdataset = "webdataset"
    safetensors = "safetensors"


def tokenize(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of media; a list of files (.txt, .csv, .jsonl); WebDataset tars or parquet files (a folder, "
            "a file or a pattern); or the name of a data set of the Hub.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT", help="Folder of the corpus; give it again to go on. For --verify it may be all there is."
        ),
    ] = None,
    kind: Annotated[Kind, typer.Option("--kind", help="What the source holds.")] = Kind.image,
    codes: AsCodes = None,
    model: ModelName = None,
    autoencoder: Annotated[
        str | None,
        typer.Option(
            "--autoencoder",
            metavar="NAME",
            help="In place of --model: an autoencoder of diffusers, by folder or Hub name (docs/corpora.md).",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=1,
            help="Side of square pictures: the shorter side is resized to it, the middle kept. Default: each its own "
            "size.",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            min=1,
            help="Make media smaller that have more patches in a picture or a latent frame.",
            show_default=False,
        ),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Store the mirror image of every row behind it.")] = False,
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, help="Frames from the middle of each video. Default: all.", show_default=False),
    ] = None,
    moments: Annotated[bool, typer.Option("--moments", help="Store the log-variances of the posterior, too.")] = False,
    format: Annotated[
        Format, typer.Option("--format", help="Files to write; safetensors are in the layout of Lightning-DiT.")
    ] = Format.parquet,
    media: Annotated[
        str | None,
        typer.Option("--media", help="Column, or ending in tars, that holds the media.", show_default=False),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="NAME[=COLUMN],...",
            help="Columns of the source to keep, such as caption=txt,label=cls; folders have caption, label, folder.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a data set of the Hub.")] = "train",
    subset: Annotated[
        str | None, typer.Option("--subset", help="Configuration of a data set of the Hub.", show_default=False)
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Revision of a data set of the Hub.", show_default=False)
    ] = None,
    unit_rows: Annotated[
        int | None,
        typer.Option(
            "--unit-rows",
            min=1,
            help="Rows of an output file. Default: 4096 images, 128 videos or 256 objects; of tars always all.",
            show_default=False,
        ),
    ] = None,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", min=1, help="Tokens that run at a time.")] = 16_384,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Which of N workers this is, from 0; it begins with its own files and then helps the others. Default: "
            "from SLURM_ARRAY_TASK_ID or RANK and WORLD_SIZE.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices", metavar="all|N", help="GPUs to use, one process for each. Default: one.", show_default=False
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes side by side on a CPU, or tasks of --ray.")
    ] = 1,
    decoders: Annotated[
        int | None,
        typer.Option(
            "--decoders",
            min=0,
            help="Processes that decode media for each worker; 0 decodes in its own threads. Default: the cores of "
            "each GPU, or 0 on a CPU.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Work as tasks of Ray: in the cluster of RAY_ADDRESS, or one started here.")
    ] = False,
    into_config: Annotated[
        Path | None,
        typer.Option(
            "--into-config",
            metavar="MODEL",
            help="Write mean and standard deviation of the latents into this model folder when all is done.",
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check a corpus that is there, against its plan; writes nothing.")
    ] = False,
    decode: Annotated[
        int,
        typer.Option("--decode", min=0, metavar="K", help="With --verify: compare K rows with their originals, too."),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Encode a whole corpus to shards of latents or codes; goes on where it was stopped, on one machine or many."""
    if decode and not verify:
        raise UsageError("--decode needs --verify")
    if verify:
        from .corpus_jobs import verify_corpus

        verify_corpus(Path(source) if out is None else out, chosen_device(device), decode, as_json)
        return
    if out is None:
        raise UsageError("OUT must be given: the folder of the corpus")
    if autoencoder is not None and model is not None:
        raise UsageError("--autoencoder takes the place of --model; leave one of them out")
    if ray and (shard or devices):
        raise UsageError("--ray shares the work out by itself; leave out --shard and --devices")
    check_output_folder(out)
    place = shard_of(shard)
    target = chosen_device(device)
    kept = _kept(keep)
    from atoken.processing.media_warnings_atoken import MediaWarning
    from atoken.tokenizing.corpus.opening import open_source
    from atoken.tokenizing.corpus.options import TokenizeOptions
    from atoken.tokenizing.corpus.plan import make_plan

    from .corpus_jobs import Workers, report_corpus, run_workers

    workers = _workers(devices, processes, target)
    # Several workers load it themselves, each on its GPU.
    first = Device.cpu if ray or workers > 1 else device
    loaded = load(model, first, dtype) if autoencoder is None else open_autoencoder(autoencoder, first, dtype)
    if codes and not loaded.discrete:
        raise UsageError(f"--codes needs a discrete model, but {loaded.name} has no quantizer; use --latents")
    options = TokenizeOptions(
        kind=kind.value,
        content="codes" if codes or (codes is None and loaded.discrete) else "latents",
        size=size,
        max_tokens=max_tokens,
        flip=flip,
        frames=frames,
        moments=moments,
        format=format.value,
        media=media,
        keep=kept,
        split=split,
        subset=subset,
        revision=revision,
        unit_rows=unit_rows,
        batch_tokens=batch_tokens,
        dtype=dtype.value,
    )
    with caught_warnings(MediaWarning) as texts:
        opened = open_source(source, options)
        plan = make_plan(source, out, options, loaded, opened)
    for text in texts:
        say(text)
    decoding = decoders if decoders is not None else _cores_of_each(workers, target)
    damaged = run_workers(plan, loaded, opened, Workers(target, workers, place, decoding, ray))
    report_corpus(plan, damaged, into_config, as_json)


def _kept(given: str | None) -> dict[str, str]:
    """Name of a kept column -> column of the source."""
    kept = {}
    for entry in (given or "").split(","):
        name, _, column = entry.strip().partition("=")
        if name in kept:
            raise UsageError(f"--keep names {name!r} twice")
        if name:
            kept[name] = column or name
        elif entry:
            raise UsageError(f"--keep must be NAME or NAME=COLUMN with commas between, got {given!r}")
    return kept


def _workers(devices: str | None, processes: int, device: str) -> int:
    """How many processes work side by side."""
    if devices is None:
        if processes > 1 and device == "cuda":
            raise UsageError("--processes is for a CPU; on GPUs say --devices")
        return processes
    if device != "cuda":
        raise UsageError("--devices is for GPUs; on a CPU say --processes")
    from atoken.tokenizing.corpus.processes import count_gpus

    gpus = count_gpus()
    if devices == "all":
        return gpus
    if not devices.isdecimal() or not 1 <= int(devices) <= gpus:
        raise UsageError(f"--devices must be all or a number from 1 to {gpus}, got {devices!r}")
    return int(devices)


def _cores_of_each(workers: int, device: str) -> int:
    """Decoding processes of each worker: on a CPU the model takes the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // workers - 1) if device == "cuda" else 0
