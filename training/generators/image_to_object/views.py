"""Pictures of meshes that condition their generation, in folders.

    python -m atoken.training.generators.image_to_object.views MESHES PICTURES

PICTURES/KEY/NUMBER.png are of the mesh MESHES/KEY, as `atoken tokenize MESHES` calls it. What exists is left alone.
"""

import hashlib
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from atoken.processing.media_suffixes_atoken import OBJECT_SUFFIXES
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.tokenizing.condition_pictures import condition_cameras, draw_views
from atoken.tokenizing.files import NewFolder


def main(
    meshes: Annotated[Path, typer.Argument(help="Folder of meshes, searched recursively.")],
    pictures: Annotated[Path, typer.Argument(help="Folder for their pictures.")],
    views: Annotated[int, typer.Option(help="Pictures of each mesh.")] = 24,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = 1024,
) -> None:
    """Draw the pictures of every mesh that has none yet, and name the meshes that cannot be read."""
    files = sorted(path for path in meshes.rglob("*") if path.suffix.lower() in OBJECT_SUFFIXES)
    if not files:
        suffixes = ", ".join(sorted(OBJECT_SUFFIXES))
        raise typer.BadParameter(f"MESHES must hold files that end in {suffixes}, got {meshes}")
    for path in tqdm(files, desc="drawing", disable=not sys.stderr.isatty()):
        key = path.relative_to(meshes).as_posix()
        if (pictures / key).is_dir():
            continue
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        try:
            mesh = read_mesh(path)
        except (OSError, ValueError) as error:
            print(f"{key} is passed over: {error}", flush=True)
            continue
        drawn = draw_views(mesh, condition_cameras(views, torch.Generator().manual_seed(seed)), size)
        (pictures / key).parent.mkdir(parents=True, exist_ok=True)
        with NewFolder(pictures / key) as new:
            for number, picture in enumerate(drawn):
                picture.save(new / f"{number:03d}.png")


if __name__ == "__main__":
    typer.run(main)
