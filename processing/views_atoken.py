"""Views of an object: pictures, where they were taken from, and what of them is object."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .cameras_atoken import Cameras, depth_scale, hammersley_cameras, read_transforms, transforms_document
from .media_warnings_atoken import warn_about_media
from .mesh_reading_atoken import SUFFIXES, ColoredMesh, read_mesh
from .mesh_views_atoken import render_mesh
from .neighbor_files_atoken import is_near
from .npy_files_atoken import read_npy
from .picture_opening_atoken import open_picture
from .size_limits_atoken import KEPT_PIXELS, bomb_text
from .voxel_processing_atoken import unproject

TRANSFORMS = "transforms.json"
# The share of a surface that may lie outside of the cube without a word: what depths of an edge smear.
_OUTSIDE = 0.01
_DICT_KEYS = ("images", "depths", "masks", "world_to_camera", "intrinsics")


@dataclass(frozen=True, eq=False)
class Views:
    """
    V pictures of one size of an object in [-0.5, 0.5]^3, in the form `AtokenVoxelProcessor` takes.

    Args:
        images: (V, 3, H, W) float in [0, 1], or (V, H, W, 3) uint8.
        cameras: V cameras.
        depths: (V, h, w) float along the optical axis in world units, negative for the background; or None.
        masks: (V, h, w) bool, True on the object, where there are no depths; or None.
    """

    images: torch.Tensor
    cameras: Cameras
    depths: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    def arguments(self) -> dict[str, torch.Tensor | None]:
        """Keyword arguments of a call of `AtokenVoxelProcessor`."""
        return {
            "images": self.images,
            "depths": self.depths,
            "world_to_camera": self.cameras.world_to_camera,
            "intrinsics": self.cameras.intrinsics,
            "masks": self.masks,
        }


def mesh_views(
    mesh: ColoredMesh | str | os.PathLike, num_views: int = 16, size: int = 512, name: str = "mesh"
) -> Views:
    """Look at a mesh from cameras spread over a sphere of radius 2 (design "3D data").

    Args:
        mesh: a mesh in the unit cube, or the path of a file for `read_mesh`.
        num_views: cameras of the spherical Hammersley sequence.
        size: pixels of each side.
        name: what to call the mesh in an error message.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: a mesh that cannot be read, or a number out of range.
        ImportError: trimesh or embreex is not installed.
    """
    mesh = mesh if isinstance(mesh, ColoredMesh) else read_mesh(mesh, name=name)
    cameras = hammersley_cameras(num_views)
    images, depths = render_mesh(mesh, cameras.world_to_camera, cameras.intrinsics, size=size)
    return Views(images, cameras, depths)


def read_views(folder: str | os.PathLike, name: str = "folder") -> Views:
    """Read pictures of an object from a folder with a NeRF-style transforms.json.

    Every frame names its picture in `file_path`. What of it is object comes, for all frames alike, from
    - `depth_file_path`: a .npy with float depths along the optical axis in world units, or a 16-bit picture of integers
      times `depth_unit_scale_factor` (of the file, by default 0.001); 0 and less are background;
    - or `mask_path`: a picture, object where it is brighter than half;
    - or the alpha channel of the picture, object where it is more than half.

    Pictures may be oblong, but all of one size, and their lenses must be pinholes (no `k1`, no fisheye). The object
    must lie in [-0.5, 0.5]^3 of the poses' world; `Cameras.normalized` moves another world there. If more than 1% of
    the surface that depths show lie outside, a `MediaWarning` says so.

    Args:
        folder: the folder, or the path of its transforms.json.
        name: what to call it in an error message.

    Raises:
        FileNotFoundError: the folder, transforms.json or a picture does not exist.
        ValueError: a picture is damaged or of more than 16 bits, sizes differ, a lens distorts, or nothing says what
            is object.
    """
    path = Path(folder)
    path = path / TRANSFORMS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{name} must be a folder with {TRANSFORMS}, got {path}, which does not exist.")
    document = transforms_document(path)
    frames, scale = document["frames"], depth_scale(document)
    images, depths, masks, kept = [], [], [], 0
    for index, frame in enumerate(frames):
        where = f"frames[{index}]"
        picture = _read_picture(path, frame, "file_path", where)
        images.append(np.asarray(_eight_bits(picture, f"{where}.file_path").convert("RGB")))
        if "depth_file_path" in frame:
            depths.append(_read_depth(path, frame, where, scale))
        elif "mask_path" in frame:
            mask = _read_picture(path, frame, "mask_path", where)
            masks.append(np.asarray(_eight_bits(mask, f"{where}.mask_path").convert("L")) > 127)
        elif "A" in picture.getbands():
            masks.append(np.asarray(picture.getchannel("A")) > 127)
        kept += picture.width * picture.height + sum(values[-1].size for values in (depths, masks) if values)
        KEPT_PIXELS.check(kept, str(path))
    sizes = [(image.shape[1], image.shape[0]) for image in images]
    cameras, _, _ = read_transforms(path, sizes)
    kinds = {"depths": depths, "masks": masks}
    found = [kind for kind, values in kinds.items() if len(values) == len(frames)]
    if not found:
        raise ValueError(
            f"{name} must have depth_file_path, mask_path or an alpha channel in every frame, got {path}, which "
            f"gives {len(depths)} depths and {len(masks)} masks for {len(frames)} frames."
        )
    stacked = {kind: _stack(kinds[kind], kind) for kind in found}
    if "depths" in stacked:
        _warn_about_outside(path, stacked["depths"], cameras)
    return Views(_stack(images, "images"), cameras, **stacked)


def as_views(source: Any, name: str = "voxels") -> Views:
    """Make `Views` of whatever a user may call an object.

    Args:
        source: `Views`; the path of a mesh file or of a folder with transforms.json; or a dictionary with `images`,
            `world_to_camera`, `intrinsics`, and `depths` or `masks`.
        name: what to call it in an error message.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: something else, or something that cannot be read.
    """
    if isinstance(source, Views):
        return source
    if isinstance(source, Mapping):
        unknown, missing = source.keys() - set(_DICT_KEYS), set(_DICT_KEYS) - {"depths", "masks"} - source.keys()
        if unknown or missing:
            raise ValueError(f"{name} must be {', '.join(_DICT_KEYS)}, got the keys {sorted(source)}.")
        cameras = Cameras(source["world_to_camera"], source["intrinsics"])
        return Views(source["images"], cameras, source.get("depths"), source.get("masks"))
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir() or path.name == TRANSFORMS:
            return read_views(path, name=name)
        if path.exists() and path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{name} must be a mesh ({', '.join(SUFFIXES)}) or a folder with {TRANSFORMS}, got {path.name}."
            )
        return mesh_views(path, name=name)
    raise ValueError(f"{name} must be Views, a path or a dictionary, got {type(source).__name__}.")


def _named_file(transforms: Path, frame: Mapping[str, Any], key: str, where: str) -> Path:
    given = frame.get(key)
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"{where}.{key} must be the path of a picture, got {given!r}.")
    path = transforms.parent / given
    # Blender's synthetic scenes leave out the suffix.
    path = path if path.suffix or path.is_file() else path.with_suffix(".png")
    if not is_near(path, transforms):
        raise ValueError(f"{where}.{key} must lie in the folder of {transforms} or below, got {given!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"{where}.{key}: {path} does not exist.")
    return path


def _read_picture(transforms: Path, frame: Mapping[str, Any], key: str, where: str) -> Image.Image:
    path = _named_file(transforms, frame, key, where)
    try:
        with open_picture(path.read_bytes()) as picture:
            picture.load()
            return picture
    except Image.DecompressionBombError as error:
        raise ValueError(f"{where}.{key}: {path}: {bomb_text(error)}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{where}.{key}: {path} cannot be read ({error}).") from error


def _eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """Rounds a gray picture of 16 bits to 8, which Pillow's own conversions clip; gives others as they are."""
    if picture.mode[0] not in "IF":
        return picture
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"{name} must be a picture of 8 or 16 bits, got one of mode {picture.mode} with values from "
            f"{values.min():g} to {values.max():g}."
        )
    return Image.fromarray((values / 257).round().astype(np.uint8))


def _read_depth(transforms: Path, frame: Mapping[str, Any], where: str, scale: float) -> np.ndarray:
    """(h, w) float32, -1 for the background."""
    path = _named_file(transforms, frame, "depth_file_path", where)
    if path.suffix == ".npy":
        try:
            depth = read_npy(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"{where}.depth_file_path: {path} cannot be read ({error}).") from error
        if depth.ndim != 2 or depth.dtype.kind != "f":
            raise ValueError(f"{where}.depth_file_path must be floats (h, w), got {depth.dtype} {depth.shape}.")
    else:
        picture = _read_picture(transforms, frame, "depth_file_path", where)
        if not picture.mode.startswith("I"):
            raise ValueError(
                f"{where}.depth_file_path must be 16-bit integers, or a .npy of floats, got a picture of mode "
                f"{picture.mode}."
            )
        depth = np.asarray(picture) * scale
    return np.where(depth > 0, depth, -1).astype(np.float32)


def _stack(values: list[np.ndarray], name: str) -> torch.Tensor:
    shapes = {value.shape for value in values}
    if len(shapes) > 1:
        raise ValueError(f"{name} must be one size, got pictures of {len(shapes)} sizes, {sorted(shapes)}.")
    return torch.from_numpy(np.stack(values))


def _warn_about_outside(path: Path, depths: torch.Tensor, cameras: Cameras) -> None:
    points = unproject(depths, cameras)
    share = float((points.abs() > 0.5).any(dim=1).float().mean()) if len(points) else 0.0
    if share > _OUTSIDE:
        warn_about_media(
            f"{path}: {share:.0%} of the surface that its depths show lie outside of [-0.5, 0.5]^3 and are left out; "
            "Cameras.normalized moves the world"
        )
