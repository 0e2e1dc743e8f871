"""The generator measured on held-out objects, beside two baselines and the ceiling: true tokens, decoded."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from atoken import AtokenModel, Gaussians
from atoken.evaluation.metrics.known_objects import NearestObject, mean_object
from atoken.evaluation.metrics.object_measures import (
    TrueObject,
    mean_of,
    measured,
    measured_nothing,
    structure_iou,
)
from atoken.generation import (
    ImageToObjectPipeline,
    SparseStructureAutoencoder,
    SparseStructureFlowModel,
    StructuredLatentFlowModel,
)
from atoken.generation.autoencoder_sparse_structure_atoken import occupied_voxels
from atoken.generation.object_conditions_atoken import picture_condition
from atoken.generation.object_pictures_atoken import object_picture
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.tokenizing.loading import LoadedModel
from atoken.tokenizing.pictures import to_bytes

from ...generators.image_to_object.features import ObjectFeatures
from ...generators.image_to_object.rows import ObjectRows
from .objects import PICTURE_SIZE, compared_cameras, condition_views, mesh_of

VIEWS, VIEW_SIZE = 4, 96
SEED = 0


def open_pipeline(parts: dict[str, Path], tokenizer: LoadedModel, sampling: dict[str, Any]) -> ImageToObjectPipeline:
    """
    Makes the pipeline of trained parts, in fp32.

    Args:
        parts: folders of "structure_vae", "structure_transformer" and "latent_transformer".
        tokenizer: whose latents are generated.
        sampling: arguments of the pipeline, `structure_sampling` and `latent_sampling`.
    """
    classes = {
        "structure_vae": SparseStructureAutoencoder,
        "structure_transformer": SparseStructureFlowModel,
        "latent_transformer": StructuredLatentFlowModel,
    }
    loaded = {
        name: classes[name].from_pretrained(folder, torch_dtype=torch.float32).eval() for name, folder in parts.items()
    }
    scheduler = FlowMatchEulerDiscreteScheduler()
    pipeline = ImageToObjectPipeline(
        **loaded, vae=tokenizer.model, scheduler=scheduler, picture_size=PICTURE_SIZE, **sampling
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def true_objects(rows: ObjectRows, split: str, count: int) -> list[TrueObject]:
    """Draws what the first objects of a corpus are compared by."""
    cameras, found = compared_cameras(VIEWS), []
    for row in range(count):
        index = int(rows.key(row))
        pictures, places = condition_views(split, index, 1)
        views, _ = render_mesh(
            mesh_of(split, index),
            cameras.world_to_camera,
            cameras.intrinsics,
            VIEW_SIZE,
            supersampling=2,
            pixel_offset=0.5,
        )
        drawn = torch.from_numpy(to_bytes(views)).permute(0, 3, 1, 2).contiguous()
        found.append(TrueObject(rows.latents(row)[1], drawn, cameras, pictures[0], places))
    return found


@torch.no_grad()
def decoded(model: AtokenModel, latents: torch.Tensor, coords: torch.Tensor) -> Gaussians:
    """Decodes latents (N, C) at voxels (N, 3)."""
    packed = torch.nn.functional.pad(coords, (1, 0))
    return model.decode_gaussians(latents, packed, torch.tensor([0, len(coords)], dtype=torch.int32))[0]


def generated(
    pipeline: ImageToObjectPipeline, trues: list[TrueObject], seed: int = SEED, **sampling: Any
) -> tuple[list[dict[str, float]], float]:
    """
    Generates an object of each picture and measures it; one that has no voxel counts as nothing.

    Args:
        pipeline: the generator.
        trues: held-out objects.
        seed: of noise; an object depends on it and its own number alone.
        sampling: further arguments of the pipeline.

    Returns:
        The measures of each, and the seconds that one object took in the median.
    """
    found, seconds = [], []
    for index, true in enumerate(trues):
        number = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        began = time.perf_counter()
        try:
            made = pipeline(true.picture, generator=torch.Generator().manual_seed(number), **sampling)
        except ValueError as error:
            if "structure with voxels" not in str(error):
                raise
            found.append(measured_nothing(true))
            continue
        seconds.append(time.perf_counter() - began)
        resolution = pipeline.latent_transformer.config.sample_size
        found.append(measured(made.coords[:, 1:], made.gaussians[0], true, resolution))
    return found, float(np.median(seconds)) if seconds else float("nan")


@torch.no_grad()
def reconstruction_iou(vae: SparseStructureAutoencoder, rows: ObjectRows, count: int) -> float:
    """Gives the mean IoU of the first objects' voxels and what the structure VAE gives back of them."""
    found = []
    for row in range(count):
        coords, _ = occupied_voxels(vae(rows.occupancy(row)[None]).sample)
        found.append(structure_iou(coords[:, 1:], rows.latents(row)[1], rows.resolution))
    return float(np.mean(found))


def baselines(
    trues: list[TrueObject], held_out: ObjectRows, train: ObjectRows, conditions: ObjectFeatures, model: AtokenModel
) -> dict[str, dict[str, float]]:
    """
    Measures what is not generated.

    Args:
        trues: the first held-out objects.
        held_out: their corpus.
        train: of the training objects, and `conditions` what is seen of their pictures.
        model: the tokenizer.

    Returns:
        The means of "nearest training object", "mean object" and "ceiling", the true voxels and latents decoded.
    """
    nearest, side = NearestObject([conditions[row] for row in range(len(conditions))]), held_out.resolution
    known = (train.latents(row) for row in range(len(train)))
    mean_coords, mean_latents = mean_object(known, side, train.channels)
    mean_gaussians = decoded(model, mean_latents, mean_coords)
    found: dict[str, list[dict[str, float]]] = {"nearest training object": [], "mean object": [], "ceiling": []}
    for row, true in enumerate(trues):
        placed = torch.from_numpy(object_picture(true.picture, PICTURE_SIZE)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            latents, coords = train.latents(nearest.row(picture_condition(placed, None, model)[0]))
        found["nearest training object"].append(measured(coords, decoded(model, latents, coords), true, side))
        found["mean object"].append(measured(mean_coords, mean_gaussians, true, side))
        latents, coords = held_out.latents(row)
        found["ceiling"].append(measured(coords, decoded(model, latents, coords), true, side))
    return {name: mean_of(each) for name, each in found.items()}
