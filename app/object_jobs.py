"""The work of commands on one 3D object."""

from dataclasses import asdict

import torch

from atoken.gaussian_files_atoken import save_ply
from atoken.gaussians_atoken import Gaussians
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.tokenizing.files import folder_of
from atoken.tokenizing.latent_files import (
    bits_per_token,
    check_latents_fit,
    new_header,
    read_object_latents,
    write_object_latents,
)
from atoken.tokenizing.loading import LoadedModel
from atoken.tokenizing.objects import (
    COMPARED_SIZE,
    EncodedObject,
    compared_cameras,
    decode_to_gaussians,
    encode_mesh,
    gaussian_pictures,
    mesh_pictures,
    stored,
)
from atoken.tokenizing.quality import Quality
from atoken.tokenizing.round_trip import Measured

from .jobs import Job
from .rows import DecodedRow, ReconstructedRow, StoredRow


def reconstruct_object(loaded: LoadedModel, job: Job, latent_dtype: str) -> ReconstructedRow:
    """Writes the Gaussians of a mesh as PLY."""
    item, gaussians, measured = round_trip_of_mesh(loaded, job, latent_dtype)
    with folder_of(job.target):
        save_ply(gaussians, job.target)
    return ReconstructedRow(file=str(job.path), output=str(job.target), gaussians=len(gaussians), **asdict(measured))


def round_trip_of_mesh(loaded: LoadedModel, job: Job, latent_dtype: str) -> tuple[EncodedObject, Gaussians, Measured]:
    """Encodes and decodes a mesh, as if its latents were stored in between, and compares pictures of both."""
    item = encode_mesh(loaded, read_mesh(job.path))
    gaussians, seconds = decode_to_gaussians(loaded, stored(loaded, item.latents, latent_dtype), item.coords)
    quality, cameras = Quality(), compared_cameras()
    quality.add(mesh_pictures(item.mesh, cameras, COMPARED_SIZE), gaussian_pictures(gaussians, cameras, COMPARED_SIZE))
    measured = Measured(
        kind="object",
        media_size=None,
        fps=None,
        tokens=len(item.coords),
        bits_per_pixel=None,
        latent_dtype="codes" if loaded.discrete else latent_dtype,
        psnr=quality.psnr,
        ssim=quality.ssim,
        seconds=item.seconds + seconds,
    )
    return item, gaussians, measured


def encode_object(loaded: LoadedModel, job: Job, content: str, latent_dtype: str) -> StoredRow:
    """Writes latents or codes and the voxels' places."""
    item = encode_mesh(loaded, read_mesh(job.path))
    stored_as = getattr(torch, latent_dtype)
    latents = loaded.model.quantizer.to_codes(item.latents) if content == "codes" else item.latents
    header = new_header(loaded, "object", content, stored_as)
    with folder_of(job.target):
        header = write_object_latents(job.target, header, latents, item.coords[:, 1:])
    return StoredRow(
        file=str(job.path),
        output=str(job.target),
        kind="object",
        content=content,
        dtype=header.dtype,
        media_size=None,
        fps=None,
        tokens=header.tokens,
        bits_per_token=bits_per_token(loaded.model.config, content, stored_as),
        bytes=job.target.stat().st_size,
        bits_per_pixel=None,
        seconds=item.seconds,
    )


def decode_object(loaded: LoadedModel, job: Job) -> DecodedRow:
    """Writes the Gaussians of an object's latents file as PLY."""
    header = job.header
    check_latents_fit(header, loaded)
    latents, coords = read_object_latents(job.path, header)
    if header.content == "codes":
        latents = loaded.model.quantizer.from_codes(latents)
    gaussians, seconds = decode_to_gaussians(loaded, latents, torch.nn.functional.pad(coords, (1, 0)))
    with folder_of(job.target):
        save_ply(gaussians, job.target)
    return DecodedRow(
        file=str(job.path),
        output=str(job.target),
        kind="object",
        model=loaded.name,
        media_size=None,
        fps=None,
        tokens=header.tokens,
        gaussians=len(gaussians),
        seconds=seconds,
    )
