"""The options and arguments that commands of `atoken` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from atoken_headers.model_folders import DEFAULT_MODEL

LATENTS_SUFFIX = ".safetensors"
OUTPUT_SUFFIXES = {"image": ".png", "video": ".mp4", "object": ".ply"}


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Dtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Quantizer(StrEnum):
    fsq = "fsq"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Images, videos and meshes: files, folders (with all they contain), globs."
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help=f"Folder, Hub name, or name of an embedded checkpoint. [default: the embedded {DEFAULT_MODEL}]",
        show_default=False,
    ),
]
DeviceName = Annotated[Device, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")]
DtypeName = Annotated[Dtype, typer.Option("--dtype", help="What to compute in.")]
LatentDtype = Annotated[
    Dtype,
    typer.Option(
        "--latent-dtype",
        help="How latents are stored. bfloat16 is half of float32, has its range, and costs no visible quality.",
    ),
]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; created when needed.")]
Fps = Annotated[
    float | None, typer.Option("--fps", min=0.001, help="Frame rate to write for videos that state none themselves.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON, and nothing else, on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
ModelOutput = Annotated[Path, typer.Argument(help="Folder to create.")]
OverwriteModel = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is an AToken model folder.")]
