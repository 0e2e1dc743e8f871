"""Which files are images, videos and 3D objects: the one list of suffixes, and a look inside where they do not tell."""

import os
from pathlib import Path

from PIL import Image

from .mesh_reading_atoken import SUFFIXES
from .pil_decoding_atoken import DECODING_ERRORS

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"})
OBJECT_SUFFIXES = frozenset(SUFFIXES)
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | OBJECT_SUFFIXES
# Images whose files may also hold an animation.
_ANIMATED_SUFFIXES = frozenset({".apng", ".gif", ".png", ".webp"})


def media_kind(path: str | os.PathLike) -> str | None:
    """
    Tells what a file holds: "image", "video" (also an animated picture), "object", or None for other suffixes.

    Only files that may be animated are opened; one that cannot be read counts as an image, as what is wrong with it is
    said where it is read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in OBJECT_SUFFIXES:
        return "object"
    if suffix in VIDEO_SUFFIXES or _is_animated(path):
        return "video"
    return "image" if suffix in IMAGE_SUFFIXES else None


def _is_animated(path: Path) -> bool:
    if path.suffix.lower() not in _ANIMATED_SUFFIXES:
        return False
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except DECODING_ERRORS:
        return False
