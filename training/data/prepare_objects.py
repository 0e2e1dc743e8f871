"""Makes of objects what 3D reconstruction is trained with: voxel tokens, and pictures to compare a result with.

    python -m atoken.training.data.prepare_objects MESHES OUT

MESHES is what `python -m atoken.training.recipes.tiny.collect_meshes` writes: folders of meshes below SPLIT or
SPLIT/SOURCE, and their manifest. OUT has files of the same places, SPLIT/SOURCE/NAME.safetensors, which hold `coords`
(N, 3) uint8, `rgb` (N, 768) uint8, the patches to encode, `images` (K, 3, S, S) uint8 on black, `world_to_camera`
(K, 4, 4) and `intrinsics` (K, 3, 3), and points of the surface in every voxel, `surface`, `surface_normals`,
`surface_rgb` (N, 16, 3) and `surface_counts` (N,), see `SurfaceSamples`. Objects that are measured come first, the
others in random order, so that a training can begin before all are done. What exists is left alone.
"""

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file
from tqdm import tqdm

from atoken.processing import mesh_views
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.cameras_atoken import hammersley_cameras
from atoken.processing.colored_mesh_atoken import ColoredMesh
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor

from .surface_samples import surface_samples

SURFACE_POINTS = 16  # of each voxel


class TooManyVoxels(ValueError):
    """Says that an object is left out because full attention over its voxels would take too long."""

    def __init__(self, voxels: int, most: int):
        super().__init__(f"object must have at most {most} voxels, got {voxels}")
        self.voxels = voxels


def prepare_mesh(
    mesh: ColoredMesh,
    name: str,
    processor: AtokenVoxelProcessor,
    views: int,
    size: int,
    max_voxels: int,
    fov_degrees: float = 40.0,
) -> dict[str, torch.Tensor]:
    """
    Makes the tensors of one object; its target cameras depend on its name alone.

    Args:
        mesh: the object.
        name: what it is called.
        processor: makes the tokens.
        views, size: how many pictures to compare a result with, and the pixels of their sides.
        max_voxels: that it may have.
        fov_degrees: the pictures' angle of view; 40 shows the whole cube.

    Raises:
        TooManyVoxels: more than `max_voxels`.
    """
    seen = mesh_views(mesh)
    tokens = processor(**seen.arguments())
    coords = tokens.coords[:, 1:]
    if len(coords) > max_voxels:
        raise TooManyVoxels(len(coords), max_voxels)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    targets = hammersley_cameras(views, fov_degrees=fov_degrees, generator=torch.Generator().manual_seed(seed))
    pictures, _ = render_mesh(
        mesh, targets.world_to_camera, targets.intrinsics, size=size, supersampling=2, pixel_offset=0.5
    )
    surface = surface_samples(seen, coords, processor.resolution, SURFACE_POINTS, torch.Generator().manual_seed(seed))
    return {
        "coords": coords.to(torch.uint8).contiguous(),
        "rgb": ((tokens.pixel_values[:, :768] + 1) * 127.5).round().to(torch.uint8),
        "images": (pictures * 255).round().to(torch.uint8),
        "world_to_camera": targets.world_to_camera,
        "intrinsics": targets.intrinsics,
        "surface": surface.places,
        "surface_normals": surface.normals,
        "surface_rgb": surface.rgb,
        "surface_counts": surface.counts,
    }


def prepare(
    path: Path, processor: AtokenVoxelProcessor, views: int, size: int, max_voxels: int, seed_name: str | None = None
) -> dict[str, torch.Tensor]:
    """
    Reads a mesh and prepares it, see `prepare_mesh`; its name is `seed_name`, by default that of its folder.

    Raises:
        TooManyVoxels: more than `max_voxels`.
        ValueError: the mesh cannot be read.
    """
    name = path.parent.name if seed_name is None else seed_name
    return prepare_mesh(read_mesh(path), name, processor, views, size, max_voxels)


def in_order(meshes: Path, seed: int) -> list[dict[str, Any]]:
    """Lists the manifest's entries: held-out ones by name, then the others shuffled."""
    manifest = json.loads((meshes / "manifest.json").read_text(encoding="utf-8"))
    manifest.sort(key=lambda entry: entry["name"])
    held_out, train = ([e for e in manifest if (e["split"] == "train") == is_train] for is_train in (False, True))
    random.Random(seed).shuffle(train)
    return held_out + train


def write_skipped(skipped: dict[str, dict[str, Any]], out: Path) -> None:
    """Writes OUT/skipped.json: the objects that were passed over, why, and of too large ones how large they are."""
    with atomic_file(out / "skipped.json") as temporary:
        temporary.write_text(json.dumps(skipped, indent=1) + "\n", encoding="utf-8")


def main(
    meshes: Annotated[Path, typer.Argument(help="Folder written by collect_meshes.")],
    out: Annotated[Path, typer.Argument(help="Folder for the prepared objects.")],
    views: Annotated[int, typer.Option(help="Pictures of each object.")] = 12,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = 256,
    max_voxels: Annotated[int, typer.Option(help="Larger objects of the training split are left out.")] = 9000,
    limit: Annotated[int | None, typer.Option(help="Objects to look at, at most.")] = None,
    check_visibility: Annotated[
        bool, typer.Option(help="Take for every voxel a view that sees it, which the official code does not.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Order of the training split.")] = 0,
) -> None:
    """Prepares every object that is not prepared yet, and writes OUT/skipped.json with those that cannot be."""
    processor = AtokenVoxelProcessor(check_visibility=check_visibility)
    out.mkdir(parents=True, exist_ok=True)
    record = out / "skipped.json"
    skipped = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    for entry in tqdm(in_order(meshes, seed)[:limit], desc="preparing", disable=not sys.stderr.isatty()):
        # A mesh has a folder of its own; those beside it are of the same source.
        mesh_folder = Path(entry["file"]).parent
        target = out / mesh_folder.parent / f"{mesh_folder.name}.safetensors"
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # Held-out objects are measured whatever their size.
        most = max_voxels if entry["split"] == "train" else processor.max_voxels
        if skipped.get(entry["name"], {}).get("voxels", 0) > most:
            continue
        try:
            tensors = prepare(meshes / entry["file"], processor, views, size, most)
        except (OSError, ValueError) as error:
            counted = {"voxels": error.voxels} if isinstance(error, TooManyVoxels) else {}
            skipped[entry["name"]] = {"reason": str(error), **counted}
            # At once: a run may be stopped as soon as there are enough objects.
            write_skipped(skipped, out)
            continue
        with atomic_file(target) as temporary:
            save_file(tensors, temporary)
        skipped.pop(entry["name"], None)
    write_skipped(skipped, out)
    print(f"{len(skipped)} objects passed over")


if __name__ == "__main__":
    typer.run(main)
