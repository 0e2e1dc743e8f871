"""Small solids of the miniature world, prepared as objects that a Gaussian decoder is trained on.

    python -m atoken.training.recipes.tiny.prepare_solids OBJECTS/train/solids --count 64

Collected objects are large and mostly dull; the small, vivid solids that the tiny generator of objects makes are
neither, and a decoder that never saw their like gives their colors back too pale. What exists is left alone.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from safetensors.torch import save_file
from tqdm import tqdm

from atoken.miniature.small_solids import small_solid
from atoken.miniature.world import MiniatureWorld
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor

from ...data.prepare_objects import prepare_mesh

# A small solid fills the pictures that it is compared with at this angle of view.
ANGLE = 15.0


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the prepared solids.")],
    count: Annotated[int, typer.Option(help="Solids, of the training split.")] = 64,
    views: Annotated[int, typer.Option(help="Pictures of each.")] = 12,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 0,
) -> None:
    """Prepares every solid that is not prepared yet."""
    world = MiniatureWorld("object", "train", count, seed)
    processor = AtokenVoxelProcessor(check_visibility=True)
    out.mkdir(parents=True, exist_ok=True)
    for index in tqdm(range(count), desc="preparing", disable=not sys.stderr.isatty()):
        name = f"solid-{seed}-{index:05d}"
        target = out / f"{name}.safetensors"
        if target.is_file():
            continue
        mesh = small_solid(world.describe(index)[0])
        tensors = prepare_mesh(mesh, name, processor, views, size, processor.max_voxels, fov_degrees=ANGLE)
        with atomic_file(target) as temporary:
            save_file(tensors, temporary)


if __name__ == "__main__":
    typer.run(main)
