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
        metavar="INPUT...", help="Images, videos and meshes: files, folders (searched recursively) or glob patterns."
    ),
]
AsCodes = Annotated[
    bool | None,
    typer.Option(
        "--codes/--latents",
        help="What to store. Default: codes if the model is discrete, latents if it is continuous.",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help=f"Folder, Hub name, or name of an embedded checkpoint. Default: the embedded {DEFAULT_MODEL}.",
        show_default=False,
    ),
]
DeviceName = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one, else the CPU.")
]
DtypeName = Annotated[Dtype, typer.Option("--dtype", help="Number type of the computation.")]
LatentDtype = Annotated[
    Dtype,
    typer.Option(
        "--latent-dtype",
        help="Number type of stored latents. bfloat16 takes half the space of float32, without visible loss.",
    ),
]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; created if missing.")]
Fps = Annotated[
    float | None,
    typer.Option(
        "--fps",
        min=0.001,
        help="Frame rate of written videos. Default: the source's own times, also where frames are not even.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON, and nothing else, to stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
ModelOutput = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create for the result.")]
OverwriteModel = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it already holds an AToken model.")]
