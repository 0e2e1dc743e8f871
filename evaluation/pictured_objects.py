"""3D objects that are made of pictures: measured against the true ones, with pictures of both."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from atoken.pages.picture_grid import picture_grid
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.cameras_atoken import hammersley_cameras
from atoken.processing.views_atoken import mesh_views
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor
from atoken.tokenizing.condition_pictures import condition_cameras, draw_views
from atoken.tokenizing.objects import mesh_pictures

from .chunks import Chunks, Results
from .interface import EvaluationSet, MadeObject, ObjectGenerator, PicturedObject
from .metrics.object_measures import TrueObject, drawn_views, mean_of, measured, measured_nothing
from .sample_files import file_names

PICTURE_MEASURES = ("structure-iou", "views-psnr", "color-error")
PICTURE_SIZE = 512
VIEWS = 8  # in which objects are compared; none is one of those that tokens come from
SHOWN_VIEWS = 4
SHOWN_SIZE = 128
# Number of a record -> number of a summary.
NUMBERS = {"iou": "structure_iou", "psnr": "views_psnr", "color": "color_error"}
EMPTY = "empty"
PROTOCOL = {
    "picture": f"one, RGBA of {PICTURE_SIZE} px, from a camera of TRELLIS's training pictures drawn by the number",
    "structure-iou": "of the voxels, with those of the mesh",
    "views-psnr": f"mean over {VIEWS} views on black",
    "color-error": "of the mean color from where the picture was taken, in gray levels",
    "empty": "objects without any voxel count as black, with an error of 255",
}


def pictured(samples: EvaluationSet, index: int) -> PicturedObject:
    """Draws the picture of a sample that an object is to be made of; it depends on the sample and its number alone."""
    mesh = samples.samples[index].load()
    camera = condition_cameras(1, torch.Generator().manual_seed(index))
    return PicturedObject(mesh, draw_views(mesh, camera, PICTURE_SIZE)[0], camera)


def true_object(given: PicturedObject, resolution: int, samples: EvaluationSet) -> TrueObject:
    """Gives what a made object is compared with: voxels of a grid of so many along a side, and views."""
    processor = AtokenVoxelProcessor(resolution=resolution)
    coords = processor(**mesh_views(given.mesh).arguments()).coords[:, 1:]
    cameras = hammersley_cameras(VIEWS, fov_degrees=samples.view_angle, offset=(0.5, 0.3))
    views = torch.from_numpy(mesh_pictures(given.mesh, cameras, samples.view_size)).permute(0, 3, 1, 2).contiguous()
    return TrueObject(coords.long(), views, cameras, given.picture, given.camera)


def measure_objects(model: ObjectGenerator, samples: EvaluationSet, indices: range, folder: Path) -> Results:
    """
    Makes objects of pictures, measures them, and draws each: the picture, and views of the true and the made object.

    Args:
        model: what makes them.
        samples: the set.
        indices: of some samples.
        folder: for the pictures, NAME.png.

    Returns:
        A record of each, and no tensors.
    """
    names, records = file_names(samples), []
    for index in indices:
        given = pictured(samples, index)
        made = model.make(given, index)
        true = true_object(given, model.resolution, samples)
        numbers = (
            measured_nothing(true) if made is None else measured(made.coords, made.gaussians, true, model.resolution)
        )
        _draw(given, made, true, folder / f"{names[index]}.png")
        records.append({"name": samples.samples[index].name, **numbers, EMPTY: made is None})
    return records, {}


def _draw(given: PicturedObject, made: MadeObject | None, true: TrueObject, path: Path) -> None:
    black = Image.new("RGBA", given.picture.size, (0, 0, 0, 255))
    on_black = Image.alpha_composite(black, given.picture).convert("RGB")
    # The object may be small in it.
    cut_out = ImageOps.pad(on_black.crop(given.picture.getchannel("A").getbbox()), (SHOWN_SIZE, SHOWN_SIZE))
    first = torch.from_numpy(np.array(cut_out)).permute(2, 0, 1)[None]
    cameras = true.cameras[:SHOWN_VIEWS]
    of_true = torch.from_numpy(mesh_pictures(given.mesh, cameras, SHOWN_SIZE)).permute(0, 3, 1, 2)
    of_made = torch.zeros_like(of_true)
    if made is not None:
        with torch.no_grad():
            of_made = drawn_views(made.gaussians, cameras, SHOWN_SIZE)
    grid = picture_grid(torch.cat([first, of_true, torch.zeros_like(first), of_made]), 1 + SHOWN_VIEWS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        Image.fromarray(grid.numpy()).save(temporary)


def summarize_objects(chunks: Chunks) -> dict[str, Any]:
    """Computes the means over objects: "structure_iou", "views_psnr", "color_error"; "empty" and "count"."""
    records = [record for found, _ in chunks for record in found]
    means = mean_of([{name: record[name] for name in NUMBERS} for record in records])
    numbers: dict[str, Any] = {NUMBERS[name]: value for name, value in means.items()}
    return {**numbers, EMPTY: sum(record[EMPTY] for record in records), "count": len(records)}
