"""Which files are images, videos and 3D objects: the one list of suffixes, and a look inside where they do not tell."""

import os
from pathlib import Path

from PIL import Image

from .mesh_reading_atoken import SUFFIXES
from .pil_decoding_atoken import DECODING_ERRORS

# What the readers read; a suffix that is missing here makes folders pass its files over.
IMAGE_SUFFIXES = frozenset(
    ".apng .avif .avifs .bmp .dds .dib .gif .heic .heif .hif .icb .icns .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf "
    ".jpg .jpx .mpo .pbm .pcx .pfm .pgm .png .pnm .ppm .qoi .sgi .tga .tif .tiff .vda .vst .webp .xbm".split()
)
VIDEO_SUFFIXES = frozenset(
    ".264 .265 .3g2 .3gp .asf .avc .avi .divx .dv .f4v .flv .gifv .h264 .h265 .hevc .ivf .m1v .m2p .m2t .m2ts .m2v "
    ".m4v .mjpeg .mjpg .mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .tod "
    ".ts .vob .webm .wmv .wtv .y4m".split()
)
OBJECT_SUFFIXES = frozenset(SUFFIXES)
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | OBJECT_SUFFIXES
# Images whose files may also hold an animation.
_ANIMATED_SUFFIXES = frozenset({".apng", ".avif", ".avifs", ".gif", ".png", ".webp"})
_ANIMATED_FORMATS = ("PNG", "GIF", "WEBP", "AVIF")


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
        with Image.open(path, formats=_ANIMATED_FORMATS) as image:
            return getattr(image, "n_frames", 1) > 1
    except DECODING_ERRORS:
        return False
