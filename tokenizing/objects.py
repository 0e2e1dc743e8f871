"""3D objects through a model: meshes to tokens, tokens to Gaussians, and pictures of both to compare."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from atoken.gaussians_atoken import Gaussians
from atoken.processing.cameras_atoken import Cameras, hammersley_cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.mesh_views_atoken import render_mesh
from atoken.processing.views_atoken import mesh_views

from .loading import LoadedModel
from .pictures import Look, iter_pictures, to_bytes

# Views in which a reconstruction is compared with the mesh; none of them is one of those the tokens come from.
COMPARED_VIEWS, COMPARED_SIZE = 8, 256


@dataclass
class EncodedObject:
    """Holds a mesh and its tokens: latents (N, channels), coords (N, 4), and the seconds that encoding took."""

    mesh: ColoredMesh
    latents: torch.Tensor
    coords: torch.Tensor
    seconds: float


def encode_mesh(loaded: LoadedModel, mesh: ColoredMesh) -> EncodedObject:
    """Looks at a mesh from 16 sides and encodes its voxels; seconds are of the model alone."""
    inputs = loaded.processor(voxels=[mesh_views(mesh)]).to(loaded.model.execution_device)
    start = time.perf_counter()
    with torch.no_grad():
        encoded = loaded.model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens, pool=False)
    latents = encoded.latents.cpu()
    return EncodedObject(mesh, latents, inputs.coords.cpu(), time.perf_counter() - start)


def decode_to_gaussians(loaded: LoadedModel, latents: torch.Tensor, coords: torch.Tensor) -> tuple[Gaussians, float]:
    """
    Decodes latents (N, channels) at coords (N, 4).

    Returns:
        Gaussians on the model's device, and the seconds it took.

    Raises:
        ValueError: the model has no Gaussian decoder.
    """
    model = loaded.model
    if model.gaussian_decoder is None:
        raise ValueError(
            f"model must decode to Gaussians, got {loaded.name}, which has no Gaussian decoder; "
            "attach_gaussian_decoder of atoken.gaussian_conversion_atoken adds one"
        )
    cu_seqlens = torch.tensor([0, len(coords)], dtype=torch.int32)
    start = time.perf_counter()
    with torch.no_grad():
        gaussians = model.decode_gaussians(
            *(tensor.to(model.execution_device) for tensor in (latents, coords, cu_seqlens))
        )[0]
    if gaussians.device.type == "cuda":
        torch.cuda.synchronize()
    return gaussians, time.perf_counter() - start


def mesh_pictures(mesh: ColoredMesh, cameras: Cameras, size: int) -> np.ndarray:
    """Renders a mesh on black: (V, size, size, 3) uint8."""
    pictures, _ = render_mesh(
        mesh, cameras.world_to_camera, cameras.intrinsics, size=size, supersampling=2, pixel_offset=0.5
    )
    return to_bytes(pictures)


def gaussian_pictures(gaussians: Gaussians, cameras: Cameras, size: int) -> np.ndarray:
    """Renders Gaussians on black: (V, size, size, 3) uint8."""
    return np.stack(list(iter_pictures(gaussians, cameras, Look(size=size))))


def compared_cameras() -> Cameras:
    """Places the cameras of PSNR and SSIM over the sphere, between those that tokens come from."""
    return hammersley_cameras(COMPARED_VIEWS, offset=(0.5, 0.3))


def stored(loaded: LoadedModel, latents: torch.Tensor, latent_dtype: str) -> torch.Tensor:
    """Rounds latents as a file would give them back; codes are exact."""
    return latents if loaded.discrete else latents.to(getattr(torch, latent_dtype)).float()
