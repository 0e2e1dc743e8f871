"""Views of an object to packed tokens, one for each occupied voxel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_processing_utils import BatchFeature

from .cameras_atoken import Cameras, project
from .packing_atoken import MODEL_INPUT_NAMES, check_return_tensors, join_packed, media_to_output
from .patching_atoken import PATCH_SIZE
from .visual_hull_atoken import visual_hull

_SIDE = 256
_PATCH = 16
_PATCHES = _SIDE // _PATCH
_VALUES = 3 * _PATCH * _PATCH
_FEATURES = 3 * PATCH_SIZE[0] * PATCH_SIZE[1] * PATCH_SIZE[2]


@dataclass(frozen=True, eq=False)
class Voxels:
    """Holds the occupied voxels of one object.

    Args:
        coords: (N, 3) int64 [x, y, z].
        patches: the picture of each: float32 (N, 3, 16, 16) in [0, 1], uint8 (N, 16, 16, 3), or a list of N images.
    """

    coords: torch.Tensor
    patches: torch.Tensor | np.ndarray | list[Image.Image]


class AtokenVoxelProcessor(ImageProcessingMixin):
    """
    Turns views of an object in [-0.5, 0.5]^3 into one token per occupied voxel (paper section 3.1).

    Args:
        resolution: voxels along each side.
        max_points: surface points used at most; more are drawn at random.
        max_voxels: occupied voxels allowed in one object.
        check_visibility: take only views that see a voxel, by their depth maps, where there are any. The released
            models were trained without.
    """

    model_input_names = list(MODEL_INPUT_NAMES)

    def __init__(
        self,
        resolution: int = 64,
        max_points: int = 500_000,
        max_voxels: int = 65_536,
        check_visibility: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for name, value in (("resolution", resolution), ("max_points", max_points), ("max_voxels", max_voxels)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
        self.resolution = resolution
        self.max_points = max_points
        self.max_voxels = max_voxels
        self.check_visibility = check_visibility

    def __call__(
        self,
        images: Any,
        depths: Any = None,
        world_to_camera: Any = None,
        intrinsics: Any = None,
        masks: Any = None,
        generator: torch.Generator | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Make tokens of one object's views, or of several objects' if every argument is a list, one entry each.

        Args:
            images: (V, 3, H, W) float in [0, 1], or (V, H, W, 3) uint8.
            depths: (V, h, w) float, along the optical axis; negative = background.
            world_to_camera: (V, 4, 4), as in `Cameras`.
            intrinsics: (V, 3, 3), as in `Cameras`.
            masks: (V, h, w) bool, True on the object, in place of `depths`: the voxels are then those of the surface of
                the visual hull, and every voxel takes its nearest view.
            generator: draws the points where there are more than `max_points`; by default one seeded with 0.
            return_tensors: "pt" (default) or "np".

        Returns:
            `BatchFeature` with `pixel_values` (N, 3072) float32, of which the first 768 are a 16x16 patch in [-1, 1]
            and the rest 0, `coords` (N, 4) int64 [0, x, y, z], `cu_seqlens` (B + 1,) int32, `media_sizes` (B, 3)
            int64, zeros, since voxels have no frames or rows, `pixel_mask` (N, 1024) bool, True for the first 256, and
            `is_video` (B,) bool, all False.

        Raises:
            ValueError: shapes or values that do not fit, or an object without a surface inside the cube.
        """
        framework = check_return_tensors(return_tensors)
        arguments = {
            "images": images,
            "depths": depths,
            "world_to_camera": world_to_camera,
            "intrinsics": intrinsics,
            "masks": masks,
        }
        if (depths is None) == (masks is None):
            given = "neither" if depths is None else "both"
            raise ValueError(f"depths or masks must be given, got {given}.")
        arguments.pop("depths" if depths is None else "masks")
        are_lists = {name: isinstance(value, (list, tuple)) for name, value in arguments.items()}
        if any(are_lists.values()):
            count = len(next(value for name, value in arguments.items() if are_lists[name]))
            for name, value in arguments.items():
                if not are_lists[name] or len(value) != count or not count:
                    raise ValueError(
                        f"{name} must be, as the others, a list with one entry per object, got another length or type."
                    )
            objects = [dict(zip(arguments, values, strict=True)) for values in zip(*arguments.values(), strict=True)]
        else:
            objects = [arguments]
        checked = [_check_views(**values) for values in objects]
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        packed = [self._pack(*self._voxelize(*views, generator)) for views in checked]
        return BatchFeature(join_packed(packed), tensor_type=framework)

    def pack_voxels(self, coords: Any, rgb: Any, return_tensors: str | None = None) -> BatchFeature:
        """Make tokens of one object's given voxels.

        Args:
            coords: (N, 3) integer [x, y, z] in [0, resolution), each once.
            rgb: (N, 768) float in [0, 1], a 16x16 patch per voxel, flattened (row, column, channel).
            return_tensors: "pt" (default) or "np".

        Returns:
            As `__call__`.

        Raises:
            ValueError: the voxels are empty, repeated, too many, outside the grid, or their colors are not in [0, 1].
        """
        framework = check_return_tensors(return_tensors)
        coords, rgb = _tensor(coords, "coords"), _tensor(rgb, "rgb")
        if coords.is_floating_point() or coords.dtype == torch.bool:
            raise ValueError(f"coords must be integers, got {coords.dtype}.")
        if coords.ndim != 2 or coords.shape[1] != 3 or not len(coords):
            raise ValueError(f"coords must be (N, 3), N at least 1, got shape {tuple(coords.shape)}.")
        self._check_count(len(coords))
        if coords.min() < 0 or coords.max() >= self.resolution:
            raise ValueError(
                f"coords must be 0 to {self.resolution - 1}, got values from {int(coords.min())} to "
                f"{int(coords.max())}."
            )
        if len(torch.unique(coords, dim=0)) != len(coords):
            raise ValueError("coords must hold each voxel at most once, got a voxel more than once.")
        if not rgb.is_floating_point() or rgb.shape != (len(coords), _VALUES):
            raise ValueError(f"rgb must be floats ({len(coords)}, {_VALUES}), got {rgb.dtype} {tuple(rgb.shape)}.")
        if not ((rgb >= 0) & (rgb <= 1)).all():
            raise ValueError("rgb must be colors in [0, 1], got values that are NaN or outside [0, 1].")
        return BatchFeature(self._pack(coords, rgb.float()), tensor_type=framework)

    def _voxelize(
        self,
        images: torch.Tensor,
        depths: torch.Tensor | None,
        masks: torch.Tensor | None,
        cameras: Cameras,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if depths is None:
            coords = visual_hull(masks, cameras, self.resolution)
            if not len(coords):
                raise ValueError(
                    "masks must show an object normalized to the cube [-0.5, 0.5]^3, and cameras must go with it; no "
                    "voxel of the cube is on the object in every view."
                )
        else:
            coords = self._occupied(depths, cameras, generator)
        self._check_count(len(coords))
        return coords, self._nearest_patches(coords, images, depths, cameras)

    def _occupied(self, depths: torch.Tensor, cameras: Cameras, generator: torch.Generator) -> torch.Tensor:
        points = unproject(depths, cameras)
        if not len(points):
            raise ValueError("depths must show a surface, got background (negative) everywhere.")
        if len(points) > self.max_points:
            points = points[torch.randperm(len(points), generator=generator)[: self.max_points].to(points.device)]
        coords = occupied_voxels(points, self.resolution)
        if not len(coords):
            raise ValueError(
                "depths must show an object normalized to the cube [-0.5, 0.5]^3, and cameras must go with it "
                "(Cameras.normalized moves them); no surface point lies in the cube."
            )
        return coords

    def _nearest_patches(
        self, coords: torch.Tensor, images: torch.Tensor, depths: torch.Tensor | None, cameras: Cameras
    ) -> torch.Tensor:
        """(N, 768): for each voxel the patch of the view in front of which its center is nearest; black without."""
        centers = (coords.to(cameras.intrinsics) + 0.5) / self.resolution - 0.5
        uv, depth = project(centers, cameras)  # (V, N, 2), (V, N)
        # What lies behind a camera is projected too, upside down.
        order = depth = torch.where(depth > 0, depth, torch.inf)
        if self.check_visibility and depths is not None:
            hidden = ~_is_visible(uv, depth, depths, 3**0.5 / self.resolution)
            # A voxel that no view sees keeps its nearest view.
            order = torch.where(hidden & ~hidden.all(dim=0), torch.inf, depth)
        view = order.argmin(dim=0)  # (N,)
        uv = uv.gather(0, view[None, :, None].expand(1, -1, 2))[0]
        # The picture is completed to a square at its right or bottom, where no voxel is seen.
        height, width = images.shape[1:3]
        sides = uv.new_tensor([width, height]) / max(width, height)
        column, row = (uv * sides * (_PATCHES - 1)).round().unbind(dim=-1)
        inside = (column >= 0) & (column < _PATCHES) & (row >= 0) & (row < _PATCHES)
        inside &= depth.gather(0, view[None])[0].isfinite()
        row, column = (torch.where(inside, index, 0).long() for index in (row, column))
        patches = _patches(images)  # (V, 16, 16, 768)
        return patches[view, row, column] * inside[:, None]

    def _check_count(self, count: int) -> None:
        if count > self.max_voxels:
            raise ValueError(
                f"voxels must be at most {self.max_voxels}, the processor's max_voxels, got {count}. Lower its "
                "resolution, or raise max_voxels."
            )

    def _pack(self, coords: torch.Tensor, rgb: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "pixel_values": torch.nn.functional.pad(rgb * 2 - 1, (0, _FEATURES - _VALUES)),
            "coords": torch.nn.functional.pad(coords.long(), (1, 0)),
            "cu_seqlens": torch.tensor([0, len(coords)], dtype=torch.int32, device=coords.device),
            "media_sizes": torch.zeros(1, 3, dtype=torch.int64, device=coords.device),
            # The colors stand where a patch has its first frame.
            "pixel_mask": (torch.arange(_FEATURES // 3, device=coords.device) < _VALUES // 3).repeat(len(coords), 1),
            "is_video": torch.zeros(1, dtype=torch.bool, device=coords.device),
        }


def unpack_voxels(pixel_values: torch.Tensor, coords: torch.Tensor, output_type: str = "pt") -> Voxels:
    """Turn the tokens (N, 3072) at coords (N, 4) of one object back into pictures; the types are those of `Voxels`."""
    patches = pixel_values[:, :_VALUES].unflatten(1, (_PATCH, _PATCH, 3)).permute(0, 3, 1, 2)
    return Voxels(coords[:, 1:], media_to_output(patches, output_type, 0.5, 0.5))


def unproject(depths: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Gives the surface points (P, 3) that depth maps (V, h, w) show; pixel i lies at i / size of the side."""
    height, width = depths.shape[1:]
    view, row, column = (depths >= 0).nonzero(as_tuple=True)
    depth = depths[view, row, column].to(cameras.intrinsics)
    focal, center = cameras.intrinsics[:, [0, 1], [0, 1]], cameras.intrinsics[:, :2, 2]
    uv = torch.stack([column / width, row / height], dim=1).to(depth)
    xy = (uv - center[view]) / focal[view]
    points = torch.nn.functional.pad(xy, (0, 1), value=1.0) * depth[:, None]
    # The inverse of a rigid transform: subtract the translation, then rotate back.
    points = points - cameras.world_to_camera[view, :3, 3]
    return (points[:, None] @ cameras.world_to_camera[view, :3, :3])[:, 0]


def occupied_voxels(points: torch.Tensor, resolution: int) -> torch.Tensor:
    """Finds the voxels over [-0.5, 0.5]^3 in which points lie.

    A point on the bounds of several voxels lies in each of them. The work grows with the number of points, not with
    that of voxels.

    Args:
        points: (P, 3) float.
        resolution: voxels along each side.

    Returns:
        (N, 3) int64, each voxel once, ordered by x, y, z.
    """
    device = points.device
    if device.type == "mps":  # it has no float64
        points = points.cpu()
    # In double precision the position within the grid is exact, so bounds are hit by equality.
    scaled = (points.double() + 0.5) * resolution
    scaled = scaled[((scaled >= 0) & (scaled <= resolution)).all(dim=1)]
    upper, lower = scaled.floor().long(), scaled.ceil().long() - 1
    shared = (upper != lower).any(dim=1)
    choices = torch.cartesian_prod(*[torch.arange(2, device=points.device)] * 3).bool()  # (8, 3)
    neighbors = torch.where(choices, upper[shared][:, None], lower[shared][:, None]).reshape(-1, 3)
    voxels = torch.cat([upper[~shared], neighbors])
    voxels = voxels[((voxels >= 0) & (voxels < resolution)).all(dim=1)]
    x, y, z = voxels.unbind(dim=1)
    keys = torch.unique((x * resolution + y) * resolution + z)
    return torch.stack([keys // resolution**2, keys // resolution % resolution, keys % resolution], dim=1).to(device)


def _is_visible(uv: torch.Tensor, depth: torch.Tensor, depths: torch.Tensor, tolerance: float) -> torch.Tensor:
    """(V, N): whether the surface seen at a voxel's center is no more than `tolerance` in front of it."""
    sizes = uv.new_tensor([depths.shape[2], depths.shape[1]])
    pixel = (uv * sizes).round()
    inside = ((pixel >= 0) & (pixel < sizes)).all(dim=-1) & (depth > 0)
    column, row = torch.where(inside[..., None], pixel, 0).long().unbind(dim=-1)
    seen = depths[torch.arange(len(depths), device=depths.device)[:, None], row, column]
    return inside & (seen >= 0) & (depth <= seen + tolerance)


def _patches(images: torch.Tensor) -> torch.Tensor:
    """(V, H, W, 3) uint8, completed with black to squares, to (V, 16, 16, 768) float32 in [0, 1]."""
    height, width = images.shape[1:3]
    side = max(height, width)
    images = torch.nn.functional.pad(images, (0, 0, 0, side - width, 0, side - height))
    if images.shape[1:3] != (_SIDE, _SIDE):
        resized = [
            np.asarray(Image.fromarray(view).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
            for view in images.cpu().numpy()
        ]
        images = torch.from_numpy(np.stack(resized)).to(images.device)
    images = images.float() / 255
    grid = images.unflatten(2, (_PATCHES, _PATCH)).unflatten(1, (_PATCHES, _PATCH))
    return grid.transpose(2, 3).flatten(3)  # (V, patch row, patch column, row, column, channel) flattened


def _check_views(
    images: Any, world_to_camera: Any, intrinsics: Any, depths: Any = None, masks: Any = None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, Cameras]:
    """Images (V, H, W, 3) uint8, depths (V, h, w) float or masks (V, h, w) bool, and cameras, or `ValueError`."""
    images, world_to_camera = _tensor(images, "images"), _tensor(world_to_camera, "world_to_camera")
    cameras = Cameras(world_to_camera, _tensor(intrinsics, "intrinsics")).to(dtype=torch.float32)
    if images.is_floating_point():
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be floats (V, 3, H, W), got shape {tuple(images.shape)}.")
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError("images must be floats in [0, 1], got values that are NaN or outside [0, 1].")
        images = (images.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    elif images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images must be uint8 (V, H, W, 3), got {images.dtype} {tuple(images.shape)}.")
    if not images.numel():
        raise ValueError(f"images must be views with pixels, got {images.shape[1]}x{images.shape[2]} pixels.")
    depths = None if depths is None else _check_depths(_tensor(depths, "depths"))
    masks = None if masks is None else _check_masks(_tensor(masks, "masks"))
    for name, value in (("images", images), ("depths", depths), ("masks", masks)):
        if value is not None and len(value) != len(cameras):
            raise ValueError(
                f"{name} must have one view for each camera, got {len(value)} views for {len(cameras)} cameras."
            )
    return images, depths, masks, cameras


def _check_depths(depths: torch.Tensor) -> torch.Tensor:
    if not depths.is_floating_point() or depths.ndim != 3 or not depths.numel():
        raise ValueError(f"depths must be floats (V, h, w), got {depths.dtype} {tuple(depths.shape)}.")
    if not torch.isfinite(depths).all():
        raise ValueError("depths must be finite, negative for the background, got NaN or infinite values.")
    return depths


def _check_masks(masks: torch.Tensor) -> torch.Tensor:
    if masks.dtype != torch.bool or masks.ndim != 3 or not masks.numel():
        raise ValueError(f"masks must be bool (V, h, w), got {masks.dtype} {tuple(masks.shape)}.")
    return masks


def _tensor(value: Any, name: str) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    raise ValueError(f"{name} must be a torch tensor or a numpy array, got {type(value).__name__}.")
