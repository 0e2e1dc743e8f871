"""Pictures and depth maps of meshes, by casting rays."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch

from .cameras_atoken import Cameras
from .color_spaces_atoken import decode_srgb, encode_srgb
from .colored_mesh_atoken import ColoredMesh


@torch.no_grad()
def render_mesh(
    mesh: ColoredMesh,
    world_to_camera: torch.Tensor,
    intrinsics: torch.Tensor,
    size: int = 512,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    supersampling: int = 1,
    pixel_offset: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at a mesh: its own colors without lighting, and how far away it is.

    By default the ray of pixel i goes through i / size of the image's side, where `AtokenVoxelProcessor` un-projects it
    to; pictures to be compared with `atoken.render` go through the pixels' middle.

    Args:
        mesh: what to look at, such as `read_mesh` returns.
        world_to_camera: (V, 4, 4), as in `Cameras`.
        intrinsics: (V, 3, 3), as in `Cameras`.
        size: pixels of each side.
        background: red, green and blue in [0, 1].
        supersampling: rays per pixel along each side whose colors are averaged; depths keep to one ray.
        pixel_offset: where within a pixel its ray goes, from 0 to 1; 0.5 is the middle.

    Returns:
        Images (V, 3, size, size) float32 in [0, 1], and depths (V, size, size) float32 along the optical axis, -1 where
        the ray hits nothing.

    Raises:
        ValueError: a camera or a number that cannot be.
        ImportError: embreex is not installed.
    """
    if not isinstance(mesh, ColoredMesh):
        raise ValueError(f"mesh must be a ColoredMesh, such as read_mesh returns, got {type(mesh).__name__}.")
    cameras = Cameras(world_to_camera, intrinsics).to("cpu", torch.float64)
    for name, value in (("size", size), ("supersampling", supersampling)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    if not 0 <= pixel_offset <= 1:
        raise ValueError(f"pixel_offset must be a number in [0, 1], got {pixel_offset}.")
    fill = np.asarray(background, dtype=np.float32)
    if fill.shape != (3,) or not ((fill >= 0) & (fill <= 1)).all():
        raise ValueError(f"background must be three numbers in [0, 1], got {background}.")
    scene = _scene(mesh)
    steps = (np.arange(supersampling) - (supersampling - 1) / 2) / supersampling + pixel_offset
    images, depths = [], []
    for camera in cameras:
        middle = _cast(scene, camera, size, (pixel_offset, pixel_offset))
        # Even numbers of rays leave out the one whose depth is wanted.
        casts = [middle]
        if supersampling > 1:
            casts = [_cast(scene, camera, size, (row, column)) for row in steps for column in steps]
        color = np.mean([_colors(mesh, hits, fill) for hits in casts], axis=0).reshape(size, size, 3)
        depth = np.where(middle["primID"] < 0, -1, middle["tfar"]).astype(np.float32).reshape(size, size)
        images.append(torch.from_numpy(color).permute(2, 0, 1))
        depths.append(torch.from_numpy(depth))
    return torch.stack(images).contiguous(), torch.stack(depths)


def _import_embreex() -> tuple[ModuleType, ModuleType]:
    try:
        from embreex import mesh_construction, rtcore_scene
    except ImportError as error:
        raise ImportError('Rendering meshes needs embreex: pip install "atoken[3d]".') from error
    return rtcore_scene, mesh_construction


def _scene(mesh: ColoredMesh) -> object:
    rtcore_scene, mesh_construction = _import_embreex()
    scene = rtcore_scene.EmbreeScene(robust=True)
    mesh_construction.TriangleMesh(scene, mesh.vertices.astype(np.float32)[mesh.faces])
    return scene


def _cast(scene: object, camera: Cameras, size: int, shift: tuple[float, float]) -> dict[str, np.ndarray]:
    """Finds what one ray per pixel, `shift` pixels (row, column) from its corner, hits; size^2 entries each."""
    rows, columns = np.meshgrid(*((np.arange(size) + step) / size for step in shift), indexing="ij")
    uv = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3)
    rotation = camera.world_to_camera[0, :3, :3].numpy()
    # The third entry of a direction is 1 in the camera's frame, so the distance along the ray is the depth.
    directions = (uv @ np.linalg.inv(camera.intrinsics[0].numpy()).T) @ rotation
    origins = np.broadcast_to(camera.positions[0].numpy(), directions.shape)
    return scene.run(origins.astype(np.float32), directions.astype(np.float32), output=True)


def _colors(mesh: ColoredMesh, hits: dict[str, np.ndarray], fill: np.ndarray) -> np.ndarray:
    """Colors (size^2, 3) of what rays hit."""
    face = hits["primID"].astype(np.int64)
    hit = np.flatnonzero(face >= 0)
    color = np.broadcast_to(fill, (len(face), 3)).copy()
    color[hit] = _surface_color(mesh, face[hit], hits["u"][hit], hits["v"][hit])
    return color


def _surface_color(mesh: ColoredMesh, face: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colors (K, 3) at the points with weights (1 - u - v, u, v) of the corners of K faces."""
    weights = np.stack([1 - u - v, u, v], axis=1).astype(np.float32)[:, :, None]  # (K, 3, 1)
    color = (mesh.corner_colors[face] * weights).sum(axis=1)
    picture = np.ones(color.shape)
    ids = mesh.texture_ids[face]
    # Sorted by texture, so that scenes of many textures are not searched once for each.
    order = np.argsort(ids, kind="stable")
    shown, starts = np.unique(ids[order], return_index=True)
    for index, chosen in zip(shown, np.split(order, starts)[1:], strict=True):
        if index >= 0:
            uv = (mesh.uv[face[chosen]] * weights[chosen]).sum(axis=1)
            wrap = mesh.wraps[index] if mesh.wraps else ("repeat", "repeat")
            picture[chosen] = _bilinear(mesh.textures[index], uv, wrap)
    result = (color * picture).clip(0, 1)
    if mesh.linear_colors:
        # Where all corners are white, the picture is shown as it is.
        lit = np.flatnonzero((mesh.corner_colors[face] != 1).any(axis=(1, 2)))
        result[lit] = encode_srgb(color[lit].clip(0, 1) * decode_srgb(picture[lit]))
    return result.astype(np.float32)


def _bilinear(texture: np.ndarray, uv: np.ndarray, wrap: tuple[str, str]) -> np.ndarray:
    """Texture colors (K, 3) at (K, 2) coordinates, v upwards, with the texture's way beyond its edges along u and v."""
    height, width = texture.shape[:2]
    left, right, across = _neighbors(uv[:, 0], width, wrap[0])
    top, bottom, down = _neighbors(1 - uv[:, 1], height, wrap[1])
    upper = texture[top, left] * (1 - across) + texture[top, right] * across
    lower = texture[bottom, left] * (1 - across) + texture[bottom, right] * across
    return upper * (1 - down) + lower * down


def _neighbors(position: np.ndarray, count: int, wrap: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two of `count` pixels in a row that a position (K,), 0 to 1, lies between, and how near (K, 1) the second."""
    if wrap == "repeat":
        position = position % 1
    elif wrap == "mirror":
        position = 1 - np.abs(position % 2 - 1)
    else:
        position = position.clip(0, 1)
    place = position * count - 0.5
    first = np.floor(place).astype(np.int64)
    share = (place - first)[:, None]
    if wrap == "repeat":
        return first % count, (first + 1) % count, share
    return first.clip(0, count - 1), (first + 1).clip(0, count - 1), share
