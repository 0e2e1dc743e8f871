"""Pinhole cameras, and the places from which an object is looked at."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import torch

from .json_documents_atoken import parse_json

# Camera models of transforms.json that are pinholes if their coefficients are 0, and these coefficients.
_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "FULL_OPENCV", "RADIAL", "SIMPLE_RADIAL")
_DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


@dataclass(frozen=True, eq=False)
class Cameras:
    """
    Holds V pinhole cameras, in the OpenCV convention: x points right, y down and z forward.

    A point of the world x is seen at `uv = (K (R x + t))[:2] / depth` with `[R | t]` the upper rows of
    `world_to_camera` and `depth` the third entry, the distance along the optical axis. `uv` runs from 0 to 1 over the
    image, whatever its size in pixels, since the focal lengths and the center in K are in units of the image's sides.

    Args:
        world_to_camera: (V, 4, 4) float, rigid.
        intrinsics: (V, 3, 3) float, `[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`.

    Raises:
        ValueError: the shapes do not fit, or the matrices describe no camera.
    """

    world_to_camera: torch.Tensor
    intrinsics: torch.Tensor

    def __post_init__(self):
        for name, size in (("world_to_camera", 4), ("intrinsics", 3)):
            value = _as_floats(getattr(self, name), name)
            if value.ndim != 3 or value.shape[1:] != (size, size) or not len(value):
                raise ValueError(f"{name} must be (V, {size}, {size}), V at least 1, got shape {tuple(value.shape)}.")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} must be finite, got NaN or infinite values.")
            object.__setattr__(self, name, value)
        if len(self.world_to_camera) != len(self.intrinsics):
            raise ValueError(
                f"intrinsics must have one matrix for each camera, got {len(self.intrinsics)} matrices for "
                f"{len(self.world_to_camera)} world_to_camera."
            )
        _check_rigid(self.world_to_camera)
        _check_intrinsics(self.intrinsics)

    def __len__(self) -> int:
        return len(self.world_to_camera)

    def __getitem__(self, index: int | slice | Sequence[int] | torch.Tensor) -> "Cameras":
        """The chosen cameras, as a set; an integer gives a set of one."""
        if isinstance(index, Integral) or isinstance(index, torch.Tensor) and index.ndim == 0:
            index = int(index)
            if not -len(self) <= index < len(self):
                raise IndexError(f"index must be below {len(self)}, the number of cameras, got {index}.")
            index = slice(index, index + 1 or None)
        return Cameras(self.world_to_camera[index], self.intrinsics[index])

    def __iter__(self) -> Iterator["Cameras"]:
        return (self[index] for index in range(len(self)))

    def to(self, *args: Any, **kwargs: Any) -> "Cameras":
        """Moves the cameras to another device or dtype; the arguments are those of `torch.Tensor.to`."""
        return Cameras(self.world_to_camera.to(*args, **kwargs), self.intrinsics.to(*args, **kwargs))

    @property
    def positions(self) -> torch.Tensor:
        """Gives (V, 3), the optical centers in the world."""
        rotation, translation = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3:]
        return -(rotation.mT @ translation)[..., 0]

    def normalized(self, center: Sequence[float], scale: float) -> "Cameras":
        """Gives the cameras of a world that is moved and scaled so that an object lies in [-0.5, 0.5]^3.

        Depth maps scale with it: multiply them by `scale`.

        Args:
            center: (3,), the point that becomes the origin.
            scale: what lengths are multiplied by, above 0; 1 / the object's longest side fills the cube.

        Raises:
            ValueError: numbers that are not finite, or a scale that is not positive.
        """
        center = torch.as_tensor(center, dtype=self.world_to_camera.dtype, device=self.world_to_camera.device)
        if center.shape != (3,) or not torch.isfinite(center).all():
            raise ValueError(f"center must be three finite numbers, got {center.tolist()}.")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be a positive number, got {scale}.")
        moved = self.world_to_camera.clone()
        moved[:, :3, 3] = scale * (moved[:, :3, 3] + moved[:, :3, :3] @ center)
        return Cameras(moved, self.intrinsics)


def project(points: torch.Tensor, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes where cameras see points (N, 3): uv (V, N, 2) in units of the image's sides, and depths (V, N)."""
    rotation, translation = cameras.world_to_camera[:, :3, :3], cameras.world_to_camera[:, :3, 3]
    seen = points @ rotation.mT + translation[:, None]  # (V, N, 3)
    seen = seen @ cameras.intrinsics.mT
    return seen[..., :2] / seen[..., 2:], seen[..., 2]


def look_at(
    positions: torch.Tensor,
    targets: torch.Tensor | Sequence[float] = (0.0, 0.0, 0.0),
    fov_degrees: float = 40.0,
    up: Sequence[float] = (0.0, 0.0, 1.0),
) -> Cameras:
    """Cameras with square images and the center in the middle.

    Args:
        positions: (V, 3), where the cameras are.
        targets: (3,) or (V, 3), what they look at.
        fov_degrees: angle of view across the image, between 0 and 180.
        up: (3,), the direction of the world that is up in the images; a camera looking along it gets another.

    Raises:
        ValueError: bad shapes or numbers, or a camera placed at its target.
    """
    positions = _as_floats(positions, "positions")
    targets, up = (torch.as_tensor(value, dtype=positions.dtype, device=positions.device) for value in (targets, up))
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise ValueError(f"positions must be (V, 3), V at least 1, got shape {tuple(positions.shape)}.")
    if targets.shape not in ((3,), positions.shape):
        raise ValueError(f"targets must be (3,) or {tuple(positions.shape)}, got shape {tuple(targets.shape)}.")
    for name, value in (("positions", positions), ("targets", targets)):
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite values.")
    if up.shape != (3,) or not torch.isfinite(up).all() or not up.any():
        raise ValueError(f"up must be three finite numbers, not all zero, got {up}.")
    if not 0 < fov_degrees < 180:
        raise ValueError(f"fov_degrees must be an angle between 0 and 180, got {fov_degrees}.")
    forward = targets - positions  # (V, 3)
    distance = forward.norm(dim=1, keepdim=True)
    if (distance < 1e-6).any():
        raise ValueError("positions must be away from targets, got a camera at its own target.")
    forward = forward / distance
    up = (up / up.norm()).expand_as(forward)
    # Along the pole, any perpendicular direction does; the axis where `up` is smallest is never parallel to it.
    fallback = torch.nn.functional.one_hot(up.abs().argmin(dim=1), 3).to(up)
    parallel = torch.linalg.cross(forward, up).norm(dim=1, keepdim=True) < 1e-4
    up = torch.where(parallel, fallback, up)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)  # (V, 3, 3)
    matrices = torch.eye(4, dtype=positions.dtype, device=positions.device).repeat(len(positions), 1, 1)
    matrices[:, :3, :3] = rotation
    matrices[:, :3, 3] = -(rotation @ positions[..., None])[..., 0]
    focal = 0.5 / math.tan(math.radians(fov_degrees) / 2)
    intrinsics = matrices.new_tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]).repeat(len(positions), 1, 1)
    return Cameras(matrices, intrinsics)


def hammersley_cameras(
    num_views: int,
    radius: float = 2.0,
    fov_degrees: float = 40.0,
    offset: Sequence[float] = (0.0, 0.0),
    generator: torch.Generator | None = None,
) -> Cameras:
    """Cameras spread over a sphere around the origin by the spherical Hammersley sequence.

    View i of n has `u = i / n + offset[0] / n` and `v = radical_inverse_2(i) + offset[1]`, both modulo 1; its elevation
    is `acos(1 - 2 u) - pi / 2` and its azimuth `2 pi v`, with z up.

    Args:
        num_views: how many, at least 1.
        radius: distance from the origin, above 0.
        fov_degrees: angle of view, between 0 and 180.
        offset: two numbers that shift the sequence.
        generator: draws the offset at random in its place.

    Raises:
        ValueError: a number outside its range.
    """
    _check_views(num_views, radius)
    if len(offset) != 2:
        raise ValueError(f"offset must be two, got {len(offset)} numbers.")
    if generator is not None:
        offset = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    index = torch.arange(num_views)
    shifts = torch.arange(max(num_views.bit_length(), 1))
    bits = (index[:, None] >> shifts) & 1  # (V, number of bits)
    inverse = (bits * 0.5 ** (shifts + 1).double()).sum(dim=1)
    u = ((index.double() + offset[0]) / num_views) % 1
    v = (inverse + offset[1]) % 1
    elevation = torch.acos(1 - 2 * u) - math.pi / 2
    return look_at(_on_sphere(elevation, 2 * math.pi * v, radius).float(), fov_degrees=fov_degrees)


def turntable_cameras(
    num_views: int, elevation_degrees: float = 20.0, radius: float = 2.0, fov_degrees: float = 40.0
) -> Cameras:
    """Cameras evenly spaced on a circle around the vertical axis z.

    Args:
        num_views: how many, at least 1.
        elevation_degrees: height above the horizon, strictly between -90 and 90.
        radius: distance from the origin, above 0.
        fov_degrees: angle of view, between 0 and 180.

    Raises:
        ValueError: a number outside its range.
    """
    _check_views(num_views, radius)
    if not -90 < elevation_degrees < 90:
        raise ValueError(f"elevation_degrees must be an angle between -90 and 90, got {elevation_degrees}.")
    azimuth = torch.arange(num_views, dtype=torch.float64) * (2 * math.pi / num_views)
    elevation = torch.full_like(azimuth, math.radians(elevation_degrees))
    return look_at(_on_sphere(elevation, azimuth, radius).float(), fov_degrees=fov_degrees)


def transforms_document(path: str | os.PathLike) -> dict[str, Any]:
    """
    Reads a transforms.json as it stands.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or has no list of frames.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a NeRF-style transforms.json, got {path}, which does not exist.")
    try:
        document = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"path must be a NeRF-style transforms.json, got {path}, which is not JSON ({error})."
        ) from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError(f"path must be a NeRF-style transforms.json, got {path}, which has no list of frames.")
    return document


def read_transforms(
    path: str | os.PathLike, sizes: Sequence[tuple[int, int]] | None = None
) -> tuple[Cameras, list[dict[str, Any]], float]:
    """Read a NeRF-style transforms.json, whose poses are OpenGL camera-to-world matrices.

    The focal lengths come from `fl_x` and `fl_y` in pixels with `w` and `h`, or from `camera_angle_x` and
    `camera_angle_y` in radians; one of them serves for both axes where the other is missing. The center comes from `cx`
    and `cy` in pixels, by default the middle. Each may stand in a frame, which goes before the file.

    Args:
        path: the file.
        sizes: width and height of each frame's picture, in place of `w` and `h` where the file has none; square
            pictures by default.

    Returns:
        The cameras; the frames as they stand in the file, in the same order; and what an integer of its depth pictures
        is worth, `depth_unit_scale_factor`, by default 0.001.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not what it should be, or describes a lens that distorts or is no pinhole; the message
            names the entry.
    """
    document = transforms_document(path)
    frames = document["frames"]
    if sizes is not None and len(sizes) != len(frames):
        raise ValueError(f"sizes must be one for each frame, got {len(sizes)} for {len(frames)} frames.")
    poses = [_pose(frame, f"frames[{index}].transform_matrix") for index, frame in enumerate(frames)]
    intrinsics = []
    for index, frame in enumerate(frames):
        values, where = {**document, **frame}, f"frames[{index}]"
        _check_lens(values, f"path: {path}, {where}")
        intrinsics.append(_intrinsics(values, where, None if sizes is None else sizes[index]))
    camera_to_world = torch.tensor(poses, dtype=torch.float64)
    # OpenGL looks along -z with y up; flipping both axes of the camera gives OpenCV.
    camera_to_world[:, :3, 1:3] *= -1
    try:
        matrices = torch.linalg.inv(camera_to_world)
    except torch.linalg.LinAlgError as error:
        raise ValueError("transform_matrix must be a rigid one, got a singular matrix.") from error
    return Cameras(matrices.float(), torch.tensor(intrinsics)), frames, depth_scale(document)


def depth_scale(document: Mapping[str, Any]) -> float:
    """Gives what an integer of the depth pictures of a transforms.json is worth; `ValueError` if it is no length."""
    scale = document.get("depth_unit_scale_factor", 1e-3)
    if not _is_number(scale) or scale <= 0:
        raise ValueError(f"depth_unit_scale_factor must be a positive number, got {scale!r}.")
    return scale


def _as_floats(value: Any, name: str) -> torch.Tensor:
    try:
        value = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a tensor of numbers, got {type(value).__name__}.") from error
    if value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} must be real numbers, got {value.dtype}.")
    return value if value.is_floating_point() else value.float()


def _check_rigid(matrices: torch.Tensor) -> None:
    matrices = matrices.cpu().double()  # not every device has float64
    rotation = matrices[:, :3, :3]
    eye = torch.eye(3, dtype=torch.float64, device=matrices.device)
    skew = (rotation @ rotation.mT - eye).abs().amax(dim=(1, 2))
    last_row = (matrices[:, 3] - matrices.new_tensor([0, 0, 0, 1])).abs().amax(dim=1)
    bad = (skew > 1e-2) | (torch.linalg.det(rotation) < 0) | (last_row > 1e-4)
    if bad.any():
        raise ValueError(
            "world_to_camera must be rigid: a rotation without scale or mirroring, a translation, and the last "
            f"row [0, 0, 0, 1]; got matrix {int(bad.nonzero()[0, 0])}, which is not rigid."
        )


def _check_intrinsics(matrices: torch.Tensor) -> None:
    if (matrices[:, [0, 1], [0, 1]] <= 0).any():
        raise ValueError("intrinsics must be fx and fy above 0, got a focal length that is not positive.")
    if (matrices[:, 2] != matrices.new_tensor([0, 0, 1])).any():
        raise ValueError("intrinsics: the last row is not [0, 0, 1].")
    if (matrices[:, :2] > 20).any():
        raise ValueError(
            "intrinsics must be focal lengths and center divided by the image's sides, got values up to "
            f"{float(matrices[:, :2].max()):g}, which look like pixels."
        )


def _check_views(num_views: int, radius: float) -> None:
    if not isinstance(num_views, int) or isinstance(num_views, bool) or num_views < 1:
        raise ValueError(f"num_views must be an integer of at least 1, got {num_views!r}.")
    if not 0 < radius < math.inf:
        raise ValueError(f"radius must be a positive number, got {radius}.")


def _on_sphere(elevation: torch.Tensor, azimuth: torch.Tensor, radius: float) -> torch.Tensor:
    flat = elevation.cos()
    return radius * torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()], dim=1)


def _pose(frame: Mapping[str, Any], name: str) -> list[list[float]]:
    matrix = frame.get("transform_matrix")
    rows = matrix if isinstance(matrix, list) and len(matrix) == 4 else []
    if not rows or not all(isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows):
        raise ValueError(f"{name} must be a 4x4 list of finite numbers, the camera-to-world matrix, got another value.")
    return rows


def _check_lens(values: Mapping[str, Any], where: str) -> None:
    """`ValueError` for anything but a pinhole: rays of other cameras do not go where this module says."""
    remedy = (
        "Undistort the pictures first, for example with `colmap image_undistorter` or OpenCV, and give their cameras."
    )
    model = values.get("camera_model") or "PINHOLE"
    if model not in _MODELS:
        raise ValueError(f"{where}.camera_model must be one of {', '.join(_MODELS)}, got {model!r}. {remedy}")
    if values.get("is_fisheye"):
        raise ValueError(f"{where}.is_fisheye must be false, got a fisheye lens. {remedy}")
    bent = [f"{key} = {values[key]}" for key in _DISTORTIONS if values.get(key)]
    if bent:
        raise ValueError(f"{where} must be a lens without distortion, got {', '.join(bent)}. {remedy}")


def _intrinsics(values: Mapping[str, Any], name: str, size: tuple[int, int] | None) -> list[list[float]]:
    known = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
    given = {key: values[key] for key in known if values.get(key) is not None}
    for key, value in given.items():
        if not _is_number(value):
            raise ValueError(f"{name}.{key} must be a finite number, got {value!r}.")
    for key in ("w", "h"):
        if given.get(key, 1) <= 0:
            raise ValueError(f"{name}.{key} must be a positive number of pixels, got {given[key]}.")
    if size is not None:
        given.setdefault("w", size[0])
        given.setdefault("h", size[1])
        # Smaller copies of pictures have the same cameras, but for what rounding their sizes does.
        if not 0.95 < (given["w"] / given["h"]) / (size[0] / size[1]) < 1.05:
            raise ValueError(
                f"{name}.w and h must be in the proportion of its picture, got {given['w']:g}x{given['h']:g} for a "
                f"picture of {size[0]}x{size[1]} pixels."
            )
    pixels = [key for key in ("fl_x", "cx", "cy", "fl_y") if key in given]
    if pixels and not {"w", "h"} <= given.keys():
        raise ValueError(f"{name}.{pixels[0]} must come with w and h, as it is in pixels, got none of the two.")
    width, height = given.get("w", 1), given.get("h", 1)
    focal_x, focal_y = _focal(given, "x", width, name), _focal(given, "y", height, name)
    if focal_x is None and focal_y is None:
        raise ValueError(f"{name}.camera_angle_x or fl_x must be given, got none of the two.")
    # Pixels are square unless the file says otherwise.
    focal_x, focal_y = focal_x or focal_y, focal_y or focal_x
    return [
        [focal_x / width, 0.0, given.get("cx", width / 2) / width],
        [0.0, focal_y / height, given.get("cy", height / 2) / height],
        [0.0, 0.0, 1.0],
    ]


def _focal(given: Mapping[str, float], axis: str, side: float, name: str) -> float | None:
    """The focal length along an axis in pixels, if it is given."""
    if f"fl_{axis}" in given:
        return given[f"fl_{axis}"]
    angle = given.get(f"camera_angle_{axis}")
    # A focal length of the other axis is more exact than an angle of this one.
    if angle is None or "fl_x" in given or "fl_y" in given:
        return None
    if not 0 < angle < math.pi:
        raise ValueError(f"{name}.camera_angle_{axis} must be radians between 0 and pi, got {angle}.")
    return 0.5 * side / math.tan(angle / 2)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
