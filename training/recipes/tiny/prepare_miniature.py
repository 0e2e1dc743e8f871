"""Objects of the miniature world as voxel tokens with captions, for training: drawing them anew takes too long.

    python -m atoken.training.recipes.tiny.prepare_miniature OUT --count 600

OUT/NAME.safetensors hold `coords` (N, 3) uint8 and `rgb` (N, 768) uint8, as `prepare_objects` writes them, and the
caption as metadata. What exists is left alone.
"""

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from tqdm import tqdm

from atoken.miniature.captions import full_caption
from atoken.miniature.world import MiniatureWorld
from atoken.processing import mesh_views
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor


def prepare(
    world: MiniatureWorld, index: int, processor: AtokenVoxelProcessor, max_voxels: int
) -> tuple[dict[str, torch.Tensor], str]:
    """Gives an object's tensors, of at most `max_voxels` random voxels, and a caption that says everything."""
    scene, _ = world.describe(index)
    tokens = processor(**mesh_views(world[index]["sample"]).arguments())
    count = len(tokens.coords)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(index))[:max_voxels].sort().values
    tensors = {
        "coords": tokens.coords[chosen, 1:].to(torch.uint8).contiguous(),
        "rgb": ((tokens.pixel_values[chosen, :768] + 1) * 127.5).round().to(torch.uint8),
    }
    return tensors, full_caption(scene)


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the prepared objects.")],
    count: Annotated[int, typer.Option(help="Objects, of the training split.")] = 600,
    max_voxels: Annotated[int, typer.Option(help="Voxels that are kept of each.")] = 1024,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 0,
) -> None:
    """Prepares every object that is not prepared yet."""
    world = MiniatureWorld("object", "train", count, seed)
    processor = AtokenVoxelProcessor(check_visibility=True)
    out.mkdir(parents=True, exist_ok=True)
    for index in tqdm(range(count), desc="preparing", disable=not sys.stderr.isatty()):
        target = out / f"{seed}-{index:05d}.safetensors"
        if target.is_file():
            continue
        tensors, caption = prepare(world, index, processor, max_voxels)
        with atomic_file(target) as temporary:
            save_file(tensors, temporary, metadata={"caption": caption})


if __name__ == "__main__":
    typer.run(main)
