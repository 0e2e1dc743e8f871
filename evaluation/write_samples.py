"""Writes the samples of a set as they are measured, for code of others to reconstruct.

    python -m atoken.evaluation.write_samples CONFIG SET OUT

CONFIG is an evaluation's file and SET the name of one of its sets. OUT gets an image as NAME.png, a video as a folder
of its frames, and an object as a folder of its views with their cameras in transforms.json; the object's mesh is the
file of that name in the set's own folder. Reconstructions under the same names are what the adapter `folder` takes.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from atoken.tokenizing.objects import compared_cameras

from .configuration import EvaluationConfig
from .interface import EvaluationSet
from .reconstruction import views_of
from .sample_files import file_names, write_cameras, write_sample


def write_one(samples: EvaluationSet, index: int, name: str, out: Path) -> None:
    """Writes one sample: of an object the views in which it is compared, and their cameras."""
    media = samples.samples[index].load()
    if samples.kind == "object":
        media = views_of(media, samples.view_size)
    write_sample(out, name, media, samples.kind)
    if samples.kind == "object":
        write_cameras(out / name, compared_cameras(), samples.view_size)


def main(
    config: Annotated[Path, typer.Argument(help="An evaluation's file.")],
    set_name: Annotated[str, typer.Argument(metavar="SET", help="Name of one of its sets.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files.")],
) -> None:
    """Writes every sample of the set."""
    entries = {entry.name: entry for entry in EvaluationConfig.read(config).sets}
    if set_name not in entries:
        raise typer.BadParameter(f"must be one of {', '.join(entries)}, got {set_name}", param_hint="SET")
    samples = entries[set_name].open()
    for index, name in enumerate(tqdm(file_names(samples), desc=set_name, disable=not sys.stderr.isatty())):
        write_one(samples, index, name, out)


if __name__ == "__main__":
    typer.run(main)
