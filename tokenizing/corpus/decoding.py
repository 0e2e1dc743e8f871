"""From a row of a source to what the encoder takes: 8-bit pixels in whole patches, or the patches of voxels."""

import errno
import math
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF

from atoken.processing import AtokenVoxelProcessor
from atoken.processing.media_reading_atoken import check_file
from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.mesh_reading_atoken import SUFFIXES
from atoken.processing.picture_files_atoken import DECODING_ERRORS
from atoken.processing.views_atoken import Views, mesh_views

from ..clips import read_frames
from ..images import read_image
from .options import TokenizeOptions
from .sources import SourceRow

# What is wrong with the machine and not with a file: to record it as a file's failure would lose the file.
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ENOSPC)
_LONGEST = 300


@dataclass
class DecodedRow:
    """
    Holds a row ready for the encoder, or why there is none.

    Attributes:
        index, key, columns: as in `SourceRow`.
        pixels: (T, 3, H, W) uint8 of an image or a video, padded to whole patches by repeating the edge.
        size: true (height, width).
        fps: frames per second of a video, of uneven ones their mean.
        rgb: (N, 768) uint8 of an object's voxels, and coords (N, 3) uint8 [x, y, z].
        error: what went wrong.
        warnings: what readers said of the file.
    """

    index: int
    key: str
    columns: dict[str, Any]
    pixels: torch.Tensor | None = None
    size: tuple[int, int] = (0, 0)
    fps: float | None = None
    rgb: torch.Tensor | None = None
    coords: torch.Tensor | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    def tokens(self, patch: Sequence[int]) -> int:
        """Counts the tokens."""
        if self.pixels is None:
            return len(self.rgb)
        frames, _, height, width = self.pixels.shape
        return -(-frames // patch[0]) * (height // patch[1]) * (width // patch[2])


def decode_row(
    row: SourceRow,
    options: TokenizeOptions,
    patch: tuple[int, int, int],
    voxelizer: AtokenVoxelProcessor | None = None,
) -> DecodedRow:
    """
    Decodes a row; what is wrong with it is said in the result.

    Args:
        row: of a source.
        options: say its kind and size.
        patch: (frames, rows, columns).
        voxelizer: makes the voxels of objects; by default one with the defaults.

    Raises:
        OSError: the machine is out of memory, of open files or of a disk.
    """
    decoded = DecodedRow(row.index, row.key, row.columns, error=row.error)
    if row.error is not None:
        return decoded
    with _caught_warnings() as decoded.warnings:
        try:
            if options.kind == "object":
                decoded.rgb, decoded.coords = _voxels(row, voxelizer or AtokenVoxelProcessor())
            else:
                image = options.kind == "image"
                frames, decoded.fps = (read_image(row.media)[None], None) if image else _clip(row.media, options)
                frames = resized(frames, options, patch)
                decoded.size = tuple(frames.shape[2:])
                decoded.pixels = padded(frames, patch)
        except (*DECODING_ERRORS, ImportError) as error:
            if isinstance(error, ImportError) or getattr(error, "errno", None) in _OF_THE_MACHINE:
                raise
            decoded.error = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
    return decoded


def _clip(media: Path | bytes, options: TokenizeOptions) -> tuple[torch.Tensor, float]:
    """(T, 3, H, W) uint8 and frames per second."""
    told = []

    def select(total: int, fps: float) -> range:
        told[:] = [fps]
        if options.frames is None:
            return range(total)
        if total < options.frames:
            raise ValueError(f"the video must have at least {options.frames} frames, got {total}")
        first = (total - options.frames) // 2
        return range(first, first + options.frames)

    return read_frames(media if isinstance(media, bytes) else check_file(media, "media"), select), told[0]


def _voxels(row: SourceRow, voxelizer: AtokenVoxelProcessor) -> tuple[torch.Tensor, torch.Tensor]:
    """The colors (N, 768) uint8 and places (N, 3) uint8 of a mesh's voxels."""
    if isinstance(row.media, bytes):
        suffix = Path(row.name).suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"the mesh must have a name that ends in {', '.join(SUFFIXES)}, got {row.name!r}")
        # In a folder of its own within another: a mesh is shown the pictures beside it, which must not be those of
        # whoever else uses the folder of temporary files.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "mesh" / f"mesh{suffix}"
            file.parent.mkdir()
            file.write_bytes(row.media)
            views = mesh_views(file)
    else:
        views = row.media if isinstance(row.media, Views) else mesh_views(row.media)
    packed = voxelizer(**views.arguments())
    values = packed["pixel_values"][:, : 16 * 16 * 3]
    rgb = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rgb, packed["coords"][:, 1:].to(torch.uint8)


def resized(frames: torch.Tensor, options: TokenizeOptions, patch: tuple[int, int, int]) -> torch.Tensor:
    """
    Gives frames (T, 3, H, W) uint8 the size that is asked for: a square from the middle, or the media's own size, made
    smaller where it has too many patches.
    """
    height, width = frames.shape[2:]
    if options.size is not None:
        scale = options.size / min(height, width)
        size = [max(options.size, round(height * scale)), max(options.size, round(width * scale))]
        frames = _resize(frames, size)
        top, left = (size[0] - options.size) // 2, (size[1] - options.size) // 2
        return frames[:, :, top : top + options.size, left : left + options.size]
    rows, columns = -(-height // patch[1]), -(-width // patch[2])
    if options.max_tokens is None or rows * columns <= options.max_tokens:
        return frames
    # Whole patches, so that nothing of the budget goes into padding.
    scale = math.sqrt(options.max_tokens * patch[1] * patch[2] / (height * width))
    rows, columns = max(1, int(height * scale / patch[1])), max(1, int(width * scale / patch[2]))
    rows, columns = min(rows, options.max_tokens // columns), min(columns, options.max_tokens // min(rows, columns))
    return _resize(frames, [max(1, rows) * patch[1], max(1, columns) * patch[2]])


def _resize(frames: torch.Tensor, size: list[int]) -> torch.Tensor:
    if list(frames.shape[2:]) == size:
        return frames
    return tvF.resize(frames, size, interpolation=InterpolationMode.BICUBIC, antialias=True)


def padded(frames: torch.Tensor, patch: tuple[int, int, int]) -> torch.Tensor:
    """Repeats the last row and column of (T, 3, H, W) up to whole patches, as the processors do."""
    bottom, right = -frames.shape[2] % patch[1], -frames.shape[3] % patch[2]
    if bottom:
        frames = torch.cat([frames, frames[:, :, -1:].expand(-1, -1, bottom, -1)], dim=2)
    if right:
        frames = torch.cat([frames, frames[:, :, :, -1:].expand(-1, -1, -1, right)], dim=3)
    return frames.contiguous()


_heard = threading.local()


@contextmanager
def _caught_warnings() -> Iterator[list[str]]:
    """What readers warn about in this thread, where `listening` is on."""
    _heard.texts = []
    try:
        yield _heard.texts
    finally:
        _heard.texts = None


@contextmanager
def listening() -> Iterator[None]:
    """Hands warnings about media to the row that is decoded in the thread that they come from, while this is open."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", MediaWarning)
        show = warnings.showwarning

        def hand_on(message, kind, *place, **options):
            texts = getattr(_heard, "texts", None)
            if texts is None or not issubclass(kind, MediaWarning):
                show(message, kind, *place, **options)
            elif str(message) not in texts:
                texts.append(str(message))

        warnings.showwarning = hand_on
        yield
