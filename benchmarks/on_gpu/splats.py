"""gsplat beside the rasterizer in plain torch: the same pictures of twenty scenes, and the time of both."""

from collections.abc import Iterator

import torch

from atoken import Gaussians, render
from atoken.processing import hammersley_cameras

from .parts import Row, Setup, attempt, timed

# Scenes of growing size: voxels on bumpy shells, each with this many Gaussians.
PER_VOXEL = 32
SCENES, FEWEST, MOST = 20, 2_000, 40_000


def scene(number: int, voxels: int, device: torch.device) -> Gaussians:
    """Draws Gaussians around points of a bumpy shell, in sizes and opacities such as a trained decoder gives."""
    generator = torch.Generator().manual_seed(number)
    centers = torch.nn.functional.normalize(torch.randn(voxels, 3, generator=generator))
    radius = 0.4 + 0.05 * torch.sin((3 + number % 5) * centers[:, :1] * torch.pi)
    spread = (torch.rand(voxels, PER_VOXEL, 3, generator=generator) - 0.5) * 1.5 / 64
    count = voxels * PER_VOXEL
    scene = Gaussians(
        ((centers * radius)[:, None] + spread).flatten(0, 1),
        torch.randn(count, 4, generator=generator),
        0.004 * torch.exp(0.4 * torch.randn(count, 3, generator=generator)),
        torch.rand(count, generator=generator),
        torch.randn(count, 3, generator=generator),
    )
    return scene.to(device)


@torch.inference_mode()
def measure_splats(setup: Setup) -> Iterator[Row]:
    """Gives for each scene the seconds of a picture by both, and how far the pictures, in [0, 1], are apart."""
    size, scenes = (32, 2) if setup.tiny else (512, SCENES)
    for number in range(scenes):
        voxels = 50 if setup.tiny else round(FEWEST * (MOST / FEWEST) ** (number / (SCENES - 1)))
        gaussians, camera = scene(number, voxels, setup.device), hammersley_cameras(1, offset=(0.05 * number, 0.3))
        row = {"case": f"scene {number}", "gaussians": len(gaussians), "pixels": size}
        pictures: dict[str, torch.Tensor] = {}

        def draw(backend: str, gaussians=gaussians, camera=camera, pictures=pictures) -> Row:
            pictures[backend] = render(gaussians, camera, size, backend=backend)
            seconds = timed(lambda: render(gaussians, camera, size, backend=backend), setup, at_most=1.0)
            return {f"{backend}_seconds": seconds}

        row = attempt(row, lambda draw=draw: draw("torch"))
        if setup.device.type == "cuda":
            row = attempt(row, lambda draw=draw: draw("gsplat"))
        else:
            row["missing"] = "gsplat draws on CUDA devices only"
        if len(pictures) == 2:
            error = (pictures["torch"] - pictures["gsplat"]).double()
            row |= {"largest_difference": float(error.abs().max()), "mean_square": float(error.square().mean())}
        yield row
