"""What the embedded generator makes of pictures of 3D objects, turning beside the true ones, as the demo shows it."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from atoken.evaluation.models.object_generator_loading import load_object_generator
from atoken.evaluation.seeded_images import image_generator
from atoken.miniature.captions import full_caption
from atoken.miniature.scenes import random_scene
from atoken.miniature.small_solids import small_solid
from atoken.pages import comparison
from atoken.processing.cameras_atoken import turntable_cameras
from atoken.processing.colored_mesh_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.tokenizing.objects import gaussian_pictures, mesh_pictures
from atoken.tokenizing.pictures import to_bytes

from .demo_texts import write_grids
from .errors import naming

OBJECTS, FRAMES, SIDE = 4, 24, 128
# An object of this size fills the picture.
_ANGLE = 17.0
_PICTURE_SIZE = 256


def show_objects(name: str, folder: Path, device: str) -> comparison.Row:
    """
    Writes into `folder` pictures of solids whose pairs of color and shape were not in the training, and clips in which
    the true solids and those made of the pictures turn.

    Args:
        name: of an embedded generator of solids of the miniature world.
        device: "cpu" or "cuda".

    Raises:
        FileNotFoundError, ValueError: it cannot be loaded, or makes nothing of a picture.
    """
    with naming(name):
        pipeline, _ = load_object_generator(name, device)
    rng = np.random.default_rng(7)
    scenes = [random_scene("object", "held_out", rng) for _ in range(OBJECTS)]
    meshes = [small_solid(scene) for scene in scenes]
    pictures = [_picture(mesh) for mesh in meshes]
    started = time.perf_counter()
    with naming(name):
        made = pipeline(pictures, generator=[image_generator(0, index) for index in range(OBJECTS)])
    seconds = (time.perf_counter() - started) / OBJECTS
    cameras = turntable_cameras(FRAMES, fov_degrees=_ANGLE)
    shown = torch.stack([_on_black(picture) for picture in pictures])[:, None]  # (N, 1, 3, S, S) uint8
    true = _stacked([mesh_pictures(mesh, cameras, SIDE) for mesh in meshes])  # (N, T, 3, S, S) uint8
    found = _stacked([gaussian_pictures(gaussians, cameras, SIDE) for gaussians in made.gaussians])
    grids = {
        "the pictures": (shown, []),
        "true objects": (true, []),
        "generated": (found, [("seconds each object", f"{seconds:.1f}")]),
    }
    shown_pictures = write_grids(folder / name, grids)
    listed = "; ".join(f'"{full_caption(scene)}"' for scene in scenes)
    note = f"{listed}. The training had no object with such a pair of color and shape"
    return comparison.Row(f"3D objects of pictures by {name}", note, shown_pictures)


def _picture(mesh: ColoredMesh) -> Image.Image:
    """Draws a mesh from the side that a turntable begins with, in mode RGBA with nothing behind it."""
    camera = turntable_cameras(1, fov_degrees=_ANGLE)
    images, depths = render_mesh(
        mesh, camera.world_to_camera, camera.intrinsics, size=_PICTURE_SIZE, supersampling=1, pixel_offset=0.5
    )
    opaque = (depths[0] >= 0).to(torch.uint8).numpy() * 255  # (S, S)
    return Image.fromarray(np.dstack([to_bytes(images)[0], opaque]))


def _on_black(picture: Image.Image) -> torch.Tensor:
    """RGBA -> (3, SIDE, SIDE) uint8."""
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    pixels = np.array(Image.alpha_composite(black, picture).convert("RGB").resize((SIDE, SIDE)))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _stacked(clips: list[np.ndarray]) -> torch.Tensor:
    """N times (T, S, S, 3) -> (N, T, 3, S, S) uint8."""
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3)
