"""Make clips of training meshes that turn: real textures, with motion that is known to be smooth.

    python -m atoken.training.recipes.tiny.turning_clips MESHES OUT

MESHES is what `collect_meshes` writes; OUT/NAME.mp4 has 24 frames of 256 x 256 pixels of one object with a texture.
How an object turns, and the color behind it, depend on its name alone. What exists is left alone.
"""

import hashlib
import json
import math
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from atoken.processing.cameras_atoken import Cameras, look_at
from atoken.processing.colored_mesh_atoken import ColoredMesh
from atoken.processing.media_writing_atoken import write_video
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.mesh_views_atoken import render_mesh

FRAMES = 24
SIZE = 256
RATE = 24
DEGREES = (2.0, 8.0)  # turned from frame to frame, either way
ELEVATION = (-10.0, 50.0)  # of the camera in degrees; it may rise or sink by RISE on the way
RISE = 25.0
DISTANCE = (1.5, 2.2)  # of the camera, in longest sides of the object; it may change by APPROACH on the way
APPROACH = 0.4
TINT = 0.1  # by which each channel of the background may differ from gray


def in_turn(manifest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Lists the training objects so that the first ones of any number are from all sources.

    Each source has a share in proportion to the square root of its objects, whose order depends on their names alone.
    """
    by_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in sorted(manifest, key=lambda entry: hashlib.sha256(entry["name"].encode()).digest()):
        if entry["split"] == "train":
            by_source[entry["source"]].append(entry)
    placed = [
        ((index + 0.5) / math.sqrt(len(entries)), source, index)
        for source, entries in by_source.items()
        for index in range(len(entries))
    ]
    return [by_source[source][index] for _, source, index in sorted(placed)]


def cameras_around(rng: random.Random) -> Cameras:
    """Gives the cameras of a clip: a smooth way around the origin."""
    step = math.radians(rng.uniform(*DEGREES)) * rng.choice((-1, 1))
    azimuth = rng.uniform(0, 2 * math.pi) + step * torch.arange(FRAMES)
    way = torch.linspace(-0.5, 0.5, FRAMES)
    elevation = (rng.uniform(*ELEVATION) + rng.uniform(-RISE, RISE) * way).deg2rad()
    distance = rng.uniform(*DISTANCE) + rng.uniform(-APPROACH, APPROACH) * way
    flat = elevation.cos()
    places = torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()], dim=1)
    return look_at(places * distance[:, None])


def turning_frames(mesh: ColoredMesh, name: str) -> torch.Tensor:
    """
    Draws the frames of a clip.

    Args:
        mesh: of longest side 1, around the origin.
        name: decides how it turns.

    Returns:
        (24, 256, 256, 3) uint8.
    """
    rng = random.Random(name)
    cameras = cameras_around(rng)
    gray = rng.uniform(TINT, 1 - TINT)
    background = [gray + rng.uniform(-TINT, TINT) for _ in range(3)]
    pictures, _ = render_mesh(
        mesh,
        cameras.world_to_camera,
        cameras.intrinsics,
        size=SIZE,
        background=background,
        supersampling=2,
        pixel_offset=0.5,
    )
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def main(
    meshes: Annotated[Path, typer.Argument(help="Folder written by collect_meshes.")],
    out: Annotated[Path, typer.Argument(help="Folder for the clips.")],
    count: Annotated[int, typer.Option(help="Clips to make.")] = 60,
) -> None:
    """Makes a clip of each chosen object that has none yet."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((meshes / "manifest.json").read_text(encoding="utf-8"))
    made = 0
    with tqdm(total=count, desc="turning", disable=not sys.stderr.isatty()) as bar:
        for entry in in_turn(manifest):
            if made == count:
                break
            target = out / f"{Path(entry['name']).name}.mp4"
            if not target.is_file():
                mesh = read_mesh(meshes / entry["file"])
                if not mesh.textures:
                    continue
                write_video(target, turning_frames(mesh, target.stem), fps=RATE, crf=12)
            made += 1
            bar.update()


if __name__ == "__main__":
    typer.run(main)
