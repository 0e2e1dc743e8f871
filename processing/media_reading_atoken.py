"""Images and videos between files and tensors: the functions for files of any kind."""

import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from transformers.video_utils import VideoMetadata

from .animation_reading_atoken import is_picture, iter_animation, read_animation
from .frame_times_atoken import TimedVideoMetadata
from .media_writing_atoken import write_image, write_video
from .picture_files_atoken import read_picture, refuse_as_video
from .pil_decoding_atoken import stored_to_rgb
from .size_limits_atoken import DOWNLOAD_BYTES
from .video_reading_atoken import iter_frames, read_frames

__all__ = ["check_file", "download_image", "iter_video", "open_image", "read_video", "write_image", "write_video"]


def check_file(path: str | os.PathLike, name: str) -> Path:
    """Return `path` if it is a file with something in it.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is a directory, a remote address or an empty file.
    """
    text = os.fsdecode(path)
    if "://" in text:
        raise ValueError(f"{name} must be a local path, got the address {text!r}. Download the file first.")
    if not os.path.exists(text):
        raise FileNotFoundError(
            f"{name}: there is no file {text!r}. Check the path; relative ones start at {os.getcwd()}."
        )
    if os.path.isdir(text):
        raise ValueError(
            f"{name} must be a file, got {text!r}, which is a directory. Pass the list of the files in it."
        )
    if os.path.getsize(text) == 0:
        raise ValueError(f"{name} must be an image or a video, got {text!r}, which is an empty file.")
    return Path(text)


def open_image(path: str | os.PathLike, name: str = "path", color_management: bool = True) -> torch.Tensor:
    """Read an image file.

    Args:
        path: any format that Pillow reads, or HEIC, holding one picture.
        name: what to call the argument in an error message.
        color_management: whether to bring colors into sRGB where the file says what they are: by an ICC profile, PNG's
            gAMA, cHRM and cICP, or EXIF. False keeps the numbers as they are stored.

    Returns:
        (3, H, W) RGB, upright, transparency composited on white: uint8, uint16 for files with more than 8 bits per
        channel, or float32 for floating point files.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: not an image, truncated, corrupt, of several frames or of an unsupported mode.
        ImportError: a package that reads this format is not installed.
    """
    path = check_file(path, name)
    label = f"{name}: {str(path)!r}"
    return stored_to_rgb(read_picture(path.read_bytes(), label), label, color_management)


def download_image(url: str, name: str = "url", timeout: float = 30.0, color_management: bool = True) -> torch.Tensor:
    """
    Fetch an image over HTTP and decode it like `open_image`; `ValueError` naming `url` if that fails.

    Whatever answers at the address is asked, also on this machine and in its network: pass no addresses of strangers.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{name} must be an address that begins with http:// or https://, got {url!r}.")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            data = response.read(DOWNLOAD_BYTES.value + 1)
        DOWNLOAD_BYTES.check(len(data), "the download")
    except (OSError, ValueError, HTTPException) as error:
        raise ValueError(f"{name}: cannot download {url!r}: {error}.") from error
    label = f"{name}: {url!r}"
    return stored_to_rgb(read_picture(data, label), label, color_management)


def read_video(
    path: str | os.PathLike,
    select: Callable[[VideoMetadata], Sequence[int]] | None = None,
    name: str = "path",
) -> tuple[torch.Tensor, TimedVideoMetadata]:
    """Read a video file, or an animated GIF, WebP, PNG or AVIF.

    Args:
        path: anything PyAV decodes; animated pictures go through Pillow and need no PyAV.
        select: given the metadata of the whole video, the indices of the frames to keep; None keeps every frame. It may
            be called again if decoding shows other frames than the file announces. The file is decoded to its end
            either way, so that damage is noticed; only frames that are kept take memory.
        name: what to call the argument in an error message.

    Returns:
        `frames` (T, H, W, 3) uint8, as a player shows them, and their metadata, in which `total_num_frames`, `fps`,
        `duration` and `frame_times` describe the file, `frames_indices` and `timestamps` the frames kept. Frames that
        an animated picture asks to show for a hundredth of a second or less count as a tenth, as in browsers; how
        often it repeats is ignored.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: not a video, truncated, corrupt, or with frames of several sizes.
        ImportError: PyAV is needed and not installed.
    """
    path, label, is_animation = _open_checks(path, name)
    return read_animation(path, select, label) if is_animation else read_frames(path, select, label)


def iter_video(path: str | os.PathLike, name: str = "path") -> tuple[TimedVideoMetadata, Iterator[np.ndarray]]:
    """Open a video to be read frame by frame, in memory that does not grow with its length.

    Args:
        path: as for `read_video`.
        name: what to call the argument in an error message.

    Returns:
        The metadata, as `read_video` gives them without `frames_indices`, and an iterator over all frames, (H, W, 3)
        uint8, as a player shows them. `frame_times` are those of the frames that will come; where they are None, the
        frames are even, and `total_num_frames` counts what the file announces. Damage further on is raised as a
        `ValueError` by the iterator, at the frame where it shows and at the latest at the end.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `read_video`.
    """
    path, label, is_animation = _open_checks(path, name)
    return iter_animation(path, label) if is_animation else iter_frames(path, label)


def _open_checks(path: str | os.PathLike, name: str) -> tuple[Path, str, bool]:
    """The path, what to call it in errors, and whether it is a picture, animated or still."""
    path = check_file(path, name)
    label = f"{name}: {str(path)!r}"
    with open(path, "rb") as file:
        head = file.read(64)
    _check_announced_size(head, path.stat().st_size, label)
    refuse_as_video(head, label)
    return path, label, is_picture(head, label)


def _check_announced_size(head: bytes, size: int, label: str) -> None:
    """`ValueError` if a WebP or Matroska file is shorter than its header announces: decoders would stop silently."""
    announced = 0
    if head[:4] == b"RIFF":
        announced = 8 + int.from_bytes(head[4:8], "little")
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        # Two elements, the EBML header and then the segment, each an identifier and a variable-length size.
        length, start = _ebml_size(head, 4)
        segment = start + (length or 0)
        if head[segment : segment + 4] == b"\x18\x53\x80\x67":
            length, start = _ebml_size(head, segment + 4)
            announced = start + length if length is not None else 0
    if size < announced:
        raise ValueError(f"{label} is truncated: its header announces {announced} bytes, the file has {size}.")


def _ebml_size(head: bytes, at: int) -> tuple[int | None, int]:
    """Read an EBML size: its value, None for an unknown one, and the position after it."""
    if at >= len(head) or head[at] == 0:
        return None, at
    width = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + width], "big") - (1 << (7 * width))
    return (None if value == (1 << (7 * width)) - 1 else value), at + width
