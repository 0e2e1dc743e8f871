"""What the commands of `atoken` do with one 3D object: from a mesh to tokens to Gaussians to pictures."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atoken.gaussian_files_atoken import save_ply
from atoken.gaussians_atoken import Gaussians
from atoken.pages.gaussians import write_gaussian_page
from atoken.processing import cameras_atoken, media_reading_atoken, mesh_reading_atoken, mesh_views_atoken, views_atoken
from atoken.tokenizing.files import folder_of
from atoken.tokenizing.latent_files import (
    LatentHeader,
    bits_per_token,
    check_latents_fit,
    read_object_latents,
    write_object_latents,
)
from atoken.tokenizing.quality import Quality
from atoken.tokenizing.streams import Tokenizer

from .gaussian_pictures import Look, frames_of, to_bytes
from .jobs import Job

# Views in which a reconstruction is compared with the mesh; none of them is one of those the tokens come from.
COMPARED_VIEWS, COMPARED_SIZE = 8, 256
TURNTABLE_VIEWS, TURNTABLE_FPS = 48, 12.0


@dataclass
class EncodedObject:
    """A mesh and its tokens: latents (N, channels), coords (N, 4), and the seconds that encoding took."""

    mesh: mesh_reading_atoken.ColoredMesh
    latents: torch.Tensor
    coords: torch.Tensor
    seconds: float


def encode_mesh(loaded: Tokenizer, mesh: mesh_reading_atoken.ColoredMesh) -> EncodedObject:
    """Looks at a mesh from 16 sides and encodes its voxels; seconds are of the model alone."""
    inputs = loaded.processor(voxels=[views_atoken.mesh_views(mesh)]).to(loaded.model.device)
    start = time.perf_counter()
    with torch.no_grad():
        encoded = loaded.model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens, pool=False)
    latents = encoded.latents.cpu()
    return EncodedObject(mesh, latents, inputs.coords.cpu(), time.perf_counter() - start)


def decode_to_gaussians(loaded: Tokenizer, latents: torch.Tensor, coords: torch.Tensor) -> tuple[Gaussians, float]:
    """Gaussians of latents (N, channels) at coords (N, 4), on the model's device, and the seconds it took."""
    model = loaded.model
    if model.gaussian_decoder is None:
        raise ValueError(
            f"the model {loaded.name} has no Gaussian decoder, so it cannot decode 3D objects; see "
            "`atoken convert --gaussian-decoder`"
        )
    cu_seqlens = torch.tensor([0, len(coords)], dtype=torch.int32)
    start = time.perf_counter()
    with torch.no_grad():
        gaussians = model.decode_gaussians(
            latents.to(model.device, model.dtype), coords.to(model.device), cu_seqlens.to(model.device)
        )[0]
    if gaussians.device.type == "cuda":
        torch.cuda.synchronize()
    return gaussians, time.perf_counter() - start


def mesh_pictures(mesh: mesh_reading_atoken.ColoredMesh, cameras: cameras_atoken.Cameras, size: int) -> np.ndarray:
    """The mesh on black, (V, size, size, 3) uint8."""
    pictures, _ = mesh_views_atoken.render_mesh(
        mesh, cameras.world_to_camera, cameras.intrinsics, size=size, supersampling=2, pixel_offset=0.5
    )
    return to_bytes(pictures)


def gaussian_pictures(gaussians: Gaussians, cameras: cameras_atoken.Cameras, size: int) -> np.ndarray:
    """The Gaussians on black, (V, size, size, 3) uint8."""
    return np.stack(list(frames_of(gaussians, cameras, Look(size=size))))


def compared_cameras() -> cameras_atoken.Cameras:
    """The cameras of PSNR and SSIM: spread over the sphere, between those that tokens come from."""
    return cameras_atoken.hammersley_cameras(COMPARED_VIEWS, offset=(0.5, 0.3))


def stored(loaded: Tokenizer, latents: torch.Tensor, latent_dtype: str) -> torch.Tensor:
    """Latents as a file would give them back; codes are exact."""
    return latents if loaded.discrete else latents.to(getattr(torch, latent_dtype)).float()


def reconstruct_object(loaded: Tokenizer, job: Job, latent_dtype: str) -> dict[str, Any]:
    """Writes the Gaussians of a mesh as PLY; the numbers of its row in the table."""
    item = encode_mesh(loaded, mesh_reading_atoken.read_mesh(job.path))
    latents = stored(loaded, item.latents, latent_dtype)
    gaussians, seconds = decode_to_gaussians(loaded, latents, item.coords)
    facts = _facts(loaded, item, gaussians, latent_dtype)
    with folder_of(job.target):
        save_ply(gaussians, job.target)
    return {
        "file": str(job.path),
        "output": str(job.target),
        **facts,
        "gaussians": len(gaussians),
        "seconds": item.seconds + seconds,
    }


def _facts(loaded: Tokenizer, item: EncodedObject, gaussians: Gaussians, latent_dtype: str) -> dict[str, Any]:
    quality, cameras = Quality(), compared_cameras()
    quality.add(mesh_pictures(item.mesh, cameras, COMPARED_SIZE), gaussian_pictures(gaussians, cameras, COMPARED_SIZE))
    return {
        "kind": "object",
        "media_size": None,
        "fps": None,
        "tokens": len(item.coords),
        "bits_per_pixel": None,
        "latent_dtype": "codes" if loaded.discrete else latent_dtype,
        "psnr": quality.psnr,
        "ssim": quality.ssim,
    }


def encode_object(loaded: Tokenizer, job: Job, content: str, latent_dtype: str) -> dict[str, Any]:
    """Writes latents or codes and the voxels' places; the numbers of their row in the table."""
    item = encode_mesh(loaded, mesh_reading_atoken.read_mesh(job.path))
    stored_as = getattr(torch, latent_dtype)
    header = LatentHeader.of_model(loaded.model, loaded.name, loaded.fingerprint, "object", content, stored_as, None)
    latents = loaded.model.quantizer.to_codes(item.latents) if content == "codes" else item.latents
    with folder_of(job.target):
        write_object_latents(job.target, header, latents, item.coords[:, 1:])
    return {
        "file": str(job.path),
        "output": str(job.target),
        "kind": "object",
        "content": content,
        "dtype": header.dtype,
        "media_size": None,
        "fps": None,
        "tokens": header.tokens,
        "bits_per_token": bits_per_token(loaded.model.config, content, stored_as),
        "bytes": job.target.stat().st_size,
        "bits_per_pixel": None,
        "seconds": item.seconds,
    }


def decode_object(loaded: Tokenizer, job: Job) -> dict[str, Any]:
    """Writes the Gaussians of an object's latents file as PLY; the numbers of its row in the table."""
    header: LatentHeader = job.header
    check_latents_fit(header, loaded.model, loaded.name, loaded.fingerprint)
    latents, coords = read_object_latents(job.path, header)
    if header.content == "codes":
        latents = loaded.model.quantizer.from_codes(latents)
    gaussians, seconds = decode_to_gaussians(loaded, latents, torch.nn.functional.pad(coords, (1, 0)))
    with folder_of(job.target):
        save_ply(gaussians, job.target)
    return {
        "file": str(job.path),
        "output": str(job.target),
        "kind": "object",
        "model": loaded.name,
        "media_size": None,
        "fps": None,
        "tokens": header.tokens,
        "gaussians": len(gaussians),
        "seconds": seconds,
    }


def demo_object_row(loaded: list[Tokenizer], job: Job, folder: Path, media: Path) -> dict[str, Any]:
    """Writes turntables of a mesh and of its Gaussians, and a page to turn them; what the demo says about them.

    Raises:
        ValueError: none of the models has a Gaussian decoder.
    """
    able = [tokenizer for tokenizer in loaded if tokenizer.model.gaussian_decoder is not None]
    if not able:
        raise ValueError("no model here has a Gaussian decoder, so 3D objects cannot be shown")
    stem = "-".join((*job.name.parent.parts, job.path.name.replace(".", "-")))
    turntable = cameras_atoken.turntable_cameras(TURNTABLE_VIEWS)
    results, pictures, pages = [], [], []
    for tokenizer in able:
        item = encode_mesh(tokenizer, mesh_reading_atoken.read_mesh(job.path))
        latents = stored(tokenizer, item.latents, "bfloat16")
        gaussians, seconds = decode_to_gaussians(tokenizer, latents, item.coords)
        facts = _facts(tokenizer, item, gaussians, "bfloat16")
        facts |= {"gaussians": len(gaussians), "seconds": item.seconds + seconds}
        results.append({"file": job.path.name, "model": tokenizer.name, **facts})
        label = Path(tokenizer.name).name
        if not pictures:
            original = mesh_pictures(item.mesh, turntable, COMPARED_SIZE)
            pictures.append(_turntable(folder / f"{stem}.original", original))
        rendered = gaussian_pictures(gaussians, turntable, COMPARED_SIZE)
        pictures.append(_turntable(folder / f"{stem}.{label}", rendered))
        page = folder / f"{stem}.{label}.html"
        write_gaussian_page(page, gaussians.to("cpu"), title=f"{job.path.name}, {label}")
        pages.append((f"Turn the Gaussians of {label} with the mouse", page.name))
    return {"name": str(job.path.relative_to(media)), "results": results, "pictures": pictures, "links": pages}


def _turntable(base: Path, frames: np.ndarray) -> tuple[str, str]:
    """The names of a clip and its poster."""
    still, clip = (base.with_name(f"{base.name}{suffix}") for suffix in (".png", ".mp4"))
    media_reading_atoken.write_image(still, frames[0])
    media_reading_atoken.write_video(clip, iter(frames), TURNTABLE_FPS, crf=12)
    return clip.name, still.name
