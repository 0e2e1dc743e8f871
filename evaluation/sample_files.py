"""Samples and reconstructions as files, for code that is not of this project: what it reads, and what it gives back.

Pictures are lossless. An image is one file, BASE.png; a video is a folder BASE of frames, and an object a folder of its
views with their cameras. A reconstruction has the name of its sample and any lossless form of it.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.cameras_atoken import Cameras
from atoken.processing.media_suffixes_atoken import media_kind
from atoken.processing.npy_files_atoken import read_npy
from atoken.processing.views_atoken import TRANSFORMS
from atoken.tokenizing.clips import read_frames
from atoken.tokenizing.files import NewFolder
from atoken.tokenizing.images import read_image

from .interface import EvaluationSet

ARRAY = ".npy"


def file_names(samples: EvaluationSet) -> list[str]:
    """
    Gives the name of each sample's files: its own without the suffix, or all of it where two samples share that.

    Names are relative, with forward slashes.

    Raises:
        ValueError: a sample's name leads out of the folder.
    """
    names = [sample.name for sample in samples.samples]
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"samples must have relative names for files, got {name!r} in {samples.name}")
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return stems if len(set(stems)) == len(stems) else names


def write_sample(folder: Path, name: str, media: torch.Tensor, kind: str) -> None:
    """
    Writes what is compared with a reconstruction.

    Args:
        folder: is created if need be.
        name: of the sample's files, see `file_names`.
        media: (T, 3, H, W) uint8; of an object its views.
        kind: "image", "video" or "object".
    """
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == "image":
        with atomic_file(folder / f"{name}.png") as temporary:
            _picture(media[0]).save(temporary)
        return
    with NewFolder(target) as frames:
        for index, frame in enumerate(media):
            _picture(frame).save(frames / f"{index:06d}.png")


def _picture(frame: torch.Tensor) -> Image.Image:
    return Image.fromarray(frame.permute(1, 2, 0).numpy())


def write_cameras(folder: Path, cameras: Cameras, size: int) -> None:
    """Writes the cameras of views that `write_sample` has written, as a NeRF-style transforms.json beside them."""
    # OpenGL looks along -z with y up: both axes of the camera are flipped.
    to_world = torch.linalg.inv(cameras.world_to_camera.double())
    to_world[:, :3, 1:3] *= -1
    frames = [
        {
            "file_path": f"{index:06d}.png",
            "transform_matrix": matrix.tolist(),
            "fl_x": float(lens[0, 0]) * size,
            "fl_y": float(lens[1, 1]) * size,
            "cx": float(lens[0, 2]) * size,
            "cy": float(lens[1, 2]) * size,
        }
        for index, (matrix, lens) in enumerate(zip(to_world, cameras.intrinsics, strict=True))
    ]
    with atomic_file(folder / TRANSFORMS) as temporary:
        temporary.write_text(json.dumps({"w": size, "h": size, "frames": frames}, indent=1) + "\n", encoding="utf-8")


class FoundFiles:
    """
    Lists the reconstructions below a folder by their names without suffix.

    Args:
        root: folder of pictures, videos, folders of frames or views, and .npy arrays.
        what: how an error calls it.
        content: what the folder has of every sample, as an error calls it, one and several.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(
        self, root: Path, what: str = "path", content: tuple[str, str] = ("a reconstruction", "reconstructions")
    ):
        if not root.is_dir():
            raise FileNotFoundError(f"{what} must be a folder of {content[1]}, got {root}, where there is none")
        self.root, self.what, self.content = root, what, content
        self._found: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            place = path.relative_to(root)
            if any(part.startswith(".") for part in place.parts) or not (path.is_dir() or _is_media(path)):
                continue
            # With and without its suffix: a sample's name may end in one itself.
            for name in {place.as_posix(), place.with_suffix("").as_posix() if path.is_file() else place.as_posix()}:
                self._found.setdefault(name, []).append(path)

    def __getitem__(self, name: str) -> Path:
        found = [path for path in self._found.get(name, []) if path.is_file() or any(map(_is_media, path.iterdir()))]
        if not found:
            raise FileNotFoundError(
                f"{self.what} must have {self.content[0]} of every sample, got {self.root} without {name}.png, "
                f"{name}{ARRAY} or a folder {name} of frames"
            )
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(self.root)) for path in found)
            raise ValueError(
                f"{self.what} must have {self.content[0]} of each sample, and no more, got {names}; remove all but one"
            )
        return found[0]

    def paths(self) -> set[Path]:
        """Gives all files, those in folders of frames too."""
        return {path for found in self._found.values() for path in found if path.is_file()}

    def check(self, names: Sequence[str]) -> None:
        """
        Checks that every one is there, once.

        Raises:
            FileNotFoundError: how many are missing, and the first of them.
            ValueError: there are two of one.
        """
        missing = []
        for name in names:
            try:
                self[name]
            except FileNotFoundError as error:
                missing.append(error)
        if missing:
            raise FileNotFoundError(f"{len(missing)} of {len(names)} {self.content[1]} are missing: {missing[0]}")


def _is_media(path: Path) -> bool:
    return path.suffix.lower() == ARRAY or media_kind(path) in ("image", "video")


def read_reconstruction(path: Path) -> torch.Tensor:
    """
    Reads a reconstruction: (T, 3, H, W) uint8.

    Args:
        path: a picture, a video, a folder of pictures in the order of their names, or a .npy of uint8 (T, H, W, 3) or
            (H, W, 3).

    Raises:
        ValueError: it is none of these, or damaged.
    """
    if path.is_dir():
        pictures = [read_image(one) for one in sorted(path.iterdir()) if media_kind(one) == "image"]
        sizes = {tuple(picture.shape) for picture in pictures}
        if len(sizes) != 1:
            raise ValueError(f"frames must be of one size, got {len(sizes)} sizes in {path}")
        return torch.stack(pictures)
    if path.suffix.lower() == ARRAY:
        try:
            values = read_npy(path)
        except ValueError as error:
            raise ValueError(f"arrays must be whole .npy files, got {path}: {error}") from error
        if values.dtype != np.uint8 or values.ndim not in (3, 4) or values.shape[-1] != 3:
            raise ValueError(
                f"arrays must be uint8 of shape (T, H, W, 3) or (H, W, 3), got {values.dtype} {values.shape} in {path}"
            )
        values = values[None] if values.ndim == 3 else values
        return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()
    if media_kind(path) == "image":
        return read_image(path)[None]
    return read_frames(path, lambda total, _: range(total))
