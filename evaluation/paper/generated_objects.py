"""Figure 14: 3D objects of pictures by the embedded generator, where the clone has it."""

import numpy as np
import torch
from PIL import Image

from atoken.miniature.captions import full_caption
from atoken.miniature.scenes import Scene
from atoken.miniature.small_solids import small_solid
from atoken.miniature.world import MiniatureWorld
from atoken.pages.paper import Shown
from atoken.processing.cameras_atoken import Cameras, hammersley_cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.tokenizing.objects import gaussian_pictures, mesh_pictures
from atoken.tokenizing.quality import psnr

from ..models.object_generator_loading import load_object_generator
from .drawings import png
from .parts import Part
from .protocol import facts_text
from .section import Real
from .workspace import Workspace

NAME = "image-to-object-tiny"
WORLD_SEED = 25
VIEWS, SIZE, ANGLE = 4, 128, 15.0  # a small object is seen as large as a whole one in a small angle
PICTURE_SIZE = 256


def make(workspace: Workspace) -> Part:
    """Makes Figure 14."""
    pipeline, label = load_object_generator(workspace.checkpoint(NAME), "cpu")
    cameras = hammersley_cameras(VIEWS, fov_degrees=ANGLE, offset=(0.5, 0.3))
    shown = []
    for index in range(workspace.counts.shown):
        workspace.progress(f"object {index + 1} of {workspace.counts.shown} by {NAME}")
        scene, mesh = held_out_object(index)
        picture = picture_of(mesh, hammersley_cameras(1, fov_degrees=ANGLE, offset=(0.4, 0.1 + 0.2 * index)))
        caption = full_caption(scene)
        seen = torch.from_numpy(np.array(picture.convert("RGB").resize((SIZE, SIZE))))
        true = torch.from_numpy(mesh_pictures(mesh, cameras, SIZE))  # (V, S, S, 3)
        shown.append(Shown(png(seen), caption, f"a picture of {caption}", "the picture"))
        shown.append(Shown(png(_side_by_side(true)), caption, f"{caption} from {VIEWS} sides", "true views"))
        try:
            made = pipeline(picture, generator=torch.Generator().manual_seed(index)).gaussians[0]
        except ValueError as error:  # a structure without any voxel
            shown.append(Shown(png(torch.zeros_like(seen)), caption, "nothing", f"nothing was made: {error}"))
            continue
        views = torch.from_numpy(gaussian_pictures(made, cameras, SIZE))
        value = float(np.mean([psnr(_first(one), _first(other)) for one, other in zip(views, true, strict=True)]))
        shown.append(Shown(png(_side_by_side(views)), caption, "the object that was made", f"made, {value:.2f} dB"))
    measured = (
        f"{workspace.counts.shown} solids of the miniature world whose pair of color and shape training left out, each "
        f"made of one picture by {NAME}. PSNR is the mean over {VIEWS} views of {SIZE} x {SIZE} on black; an object "
        "that stands otherwise than the true one loses much of it."
    )
    facts = {"model": label, "seeds": f"0 to {workspace.counts.shown - 1}", "objects": f"world {WORLD_SEED}"}
    return Part(measured, shown=shown, protocol=[facts_text(facts)])


def held_out_object(index: int) -> tuple[Scene, ColoredMesh]:
    """Gives a scene and its mesh, as the generator has learned them."""
    scene = MiniatureWorld("object", "held_out", index + 1, WORLD_SEED).describe(index)[0]
    return scene, small_solid(scene)


def picture_of(mesh: ColoredMesh, camera: Cameras) -> Image.Image:
    """Draws a mesh with nothing behind it, in mode RGBA."""
    images, depths = render_mesh(mesh, camera.world_to_camera, camera.intrinsics, size=PICTURE_SIZE, pixel_offset=0.5)
    values = torch.cat([images, (depths >= 0).float()[:, None]], dim=1)[0]  # (4, S, S)
    return Image.fromarray((values * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def real() -> Real:
    """Says what Figure 14 needs."""
    return Real(
        "the trainings of training/generators/image_to_object/stages, then `atoken generate --image picture.png -o "
        "object.ply --model FOLDER` (docs/generation.md)",
        "TRELLIS's training set (Objaverse-XL, ABO, 3D-FUTURE, HSSD) as tokens of So/C; pictures of Toys4k; DINOv2",
        "not known: the paper states no hours for this training",
    )


def _side_by_side(views: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(views), dim=1)


def _first(view: torch.Tensor) -> torch.Tensor:
    return view.permute(2, 0, 1)[None].contiguous()
