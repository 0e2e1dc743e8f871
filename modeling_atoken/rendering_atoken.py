"""3D Gaussians to pictures: gsplat on CUDA, plain torch elsewhere, the same picture from both."""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

import torch

from .gaussians_atoken import Gaussians
from .torch_rasterizer_atoken import Screen, rasterize

BACKENDS = ("auto", "gsplat", "torch")

# The released models' screen-space low-pass: variance in square pixels, with the opacity compensated.
_EPS2D = 0.1


class CamerasLike(Protocol):
    """Describes what `atoken.processing.Cameras` offers: V cameras in the OpenCV convention."""

    world_to_camera: torch.Tensor  # (V, 4, 4)
    intrinsics: torch.Tensor  # (V, 3, 3), in units of the image's sides


def render(
    gaussians: Gaussians,
    cameras: CamerasLike,
    size: int | tuple[int, int] = 512,
    background: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0),
    *,
    supersampling: int = 1,
    near: float = 0.1,
    far: float = math.inf,
    backend: str = "auto",
) -> torch.Tensor:
    """Renders Gaussians, differentiable in all their fields.

    Both backends sample pixels at their middle, add 0.1 square pixels of variance on the screen and lower the opacity
    by as much as the area grows (gsplat's "antialiased" mode).

    Args:
        gaussians: what to look at.
        cameras: V cameras with `world_to_camera` and `intrinsics`, such as `atoken.processing.Cameras`.
        size: pixels of each side, or (height, width).
        background: red, green and blue behind everything.
        supersampling: rendered this many times larger along each side, then averaged.
        near, far: depths along the optical axis between which Gaussians are seen, in world units.
        backend: "gsplat" (CUDA only), "torch" (any device), or "auto": gsplat for Gaussians on CUDA, else torch.

    Returns:
        (V, 3, height, width), on the device and in the dtype of `gaussians` (fp32 with gsplat). Colors are not clamped
        above.

    Raises:
        ValueError: naming the argument that does not fit.
        ImportError: gsplat is needed and not installed.
    """
    if not isinstance(gaussians, Gaussians):
        raise ValueError(f"gaussians must be Gaussians, got {type(gaussians).__name__}")
    if gaussians.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"gaussians must be in fp32 or fp64, got {gaussians.dtype}; use gaussians.to(dtype=...)")
    height, width = (_size(size, "size"),) * 2 if isinstance(size, int) else _height_and_width(size)
    supersampling = _size(supersampling, "supersampling")
    if not 0 < near < far:
        raise ValueError(f"near and far must be positive depths, near below far, got {near} and {far}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        backend = "gsplat" if gaussians.device.type == "cuda" else "torch"
    if backend == "gsplat" and gaussians.device.type != "cuda":
        raise ValueError(f"backend 'gsplat' needs gaussians on a CUDA device, got {gaussians.device}; use 'torch'")
    height, width = height * supersampling, width * supersampling
    options = {"device": gaussians.device, "dtype": gaussians.dtype}
    screen = Screen(height, width, _background(background).to(**options), _EPS2D, near, far)
    world_to_camera, intrinsics = (value.to(**options) for value in _matrices(cameras))
    in_pixels = intrinsics * intrinsics.new_tensor([width, height, 1])[:, None]
    draw = _with_gsplat if backend == "gsplat" else _with_torch
    images = draw(gaussians, world_to_camera, in_pixels, screen)
    return torch.nn.functional.avg_pool2d(images, supersampling) if supersampling > 1 else images


def _with_torch(
    gaussians: Gaussians, world_to_camera: torch.Tensor, intrinsics: torch.Tensor, screen: Screen
) -> torch.Tensor:
    views = zip(world_to_camera, intrinsics, strict=True)
    return torch.stack([rasterize(gaussians, *view, screen) for view in views])


def _with_gsplat(
    gaussians: Gaussians, world_to_camera: torch.Tensor, intrinsics: torch.Tensor, screen: Screen
) -> torch.Tensor:
    images, _, _ = _import_gsplat().rasterization(
        gaussians.means.float(),
        gaussians.quats.float(),
        gaussians.scales.float(),
        gaussians.opacities.float(),
        gaussians.rgb.clamp(min=0).float(),
        world_to_camera.float(),
        intrinsics.float(),
        screen.width,
        screen.height,
        near_plane=screen.near,
        far_plane=min(screen.far, 1e10),
        eps2d=screen.eps2d,
        packed=False,
        backgrounds=screen.background.float().expand(len(intrinsics), 3),
        rasterize_mode="antialiased",
    )  # (V, H, W, 3)
    return images.permute(0, 3, 1, 2)


def _import_gsplat() -> ModuleType:
    try:
        import gsplat
    except ImportError as error:
        raise ImportError(
            'Rendering on CUDA needs gsplat: pip install "atoken[3d]", or render with backend="torch".'
        ) from error
    return gsplat


def _size(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return value


def _height_and_width(size: Any) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size must be one integer or (height, width), got {size!r}")
    return _size(size[0], "size"), _size(size[1], "size")


def _background(background: Any) -> torch.Tensor:
    try:
        fill = torch.as_tensor(background)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"background must be three numbers, got {background!r}") from error
    if fill.shape != (3,) or fill.is_complex() or not fill.isfinite().all():
        raise ValueError(f"background must be three finite numbers, red, green and blue, got {background}")
    return fill


def _matrices(cameras: Any) -> tuple[torch.Tensor, torch.Tensor]:
    matrices = []
    for name, side in (("world_to_camera", 4), ("intrinsics", 3)):
        value = getattr(cameras, name, None)
        if not isinstance(value, torch.Tensor) or value.ndim != 3 or value.shape[1:] != (side, side) or not len(value):
            given = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(
                f"cameras.{name} must be a tensor (V, {side}, {side}), got {given}; see atoken.processing.Cameras"
            )
        if not value.isfinite().all():
            raise ValueError(f"cameras.{name} must be finite, got NaN or infinity")
        matrices.append(value)
    if len(matrices[0]) != len(matrices[1]):
        raise ValueError(f"cameras must have as many intrinsics as world_to_camera, got {list(map(len, matrices))}")
    return matrices[0], matrices[1]


__all__ = ["BACKENDS", "CamerasLike", "render"]
