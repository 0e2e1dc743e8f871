"""Moments of animated pictures (GIF, WebP, PNG, AVIF): all or some of them, one after another, with their times."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

from .apng_atoken import SIGNATURE, composed_png, is_animated_png
from .frame_times_atoken import TimedVideoMetadata, describe_times
from .gif_atoken import SIGNATURES, composed_gif, is_animated_gif
from .media_warnings_atoken import warn_about_media
from .pil_decoding_atoken import DECODING_ERRORS, pil_to_rgb
from .size_limits_atoken import ANIMATION_FRAMES, ANIMATION_PIXELS, KEPT_PIXELS, bomb_text

# Browsers show a frame for a tenth of a second if it asks for a hundredth or less.
_SHORTEST, _INSTEAD = 10.0, 100.0
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")
_SEQUENCE_BRANDS = (b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")


def is_picture(head: bytes, label: str) -> bool:
    """
    Tells whether a file that begins with the 64 bytes `head` is a picture that may be animated.

    Raises:
        ValueError: it is a HEIF file, which is never read as a video.
    """
    if head.startswith((*SIGNATURES, SIGNATURE)) or head[8:12] == b"WEBP":
        return True
    if head[4:8] != b"ftyp":
        return False
    brand, others = head[8:12], head[16 : int.from_bytes(head[:4], "big")]
    if brand in (b"avif", b"avis") or (brand in (b"mif1", b"msf1") and (b"avif" in others or b"avis" in others)):
        return True
    if brand in _SEQUENCE_BRANDS:
        raise ValueError(f"{label} is a HEIF image sequence; expected a video. Convert it to MP4 or to animated AVIF.")
    if brand in _STILL_BRANDS:
        raise ValueError(
            f"{label} is a HEIC still image; expected a video. Pass it as images=, where it is read with pillow-heif: "
            'pip install "atoken[heif]".'
        )
    return False


def read_animation(
    source: Path | BinaryIO, select: Callable[[VideoMetadata], Sequence[int]] | None, label: str
) -> tuple[torch.Tensor, TimedVideoMetadata]:
    """
    Reads moments of an animated picture.

    Args:
        source: a path or a binary file object that can seek.
        select: given the metadata of the whole animation, the indices to keep; None keeps all.
        label: what to call the file in errors.

    Returns:
        `frames` (T, H, W, 3) uint8 and their metadata.

    Raises:
        ValueError: a still image, truncated or corrupt.
    """
    data = _read(source, label)
    if select is None:
        pairs = []
        for index, (picture, milliseconds) in enumerate(_moments(data, label)):
            KEPT_PIXELS.check((index + 1) * picture.width * picture.height, label)
            pairs.append((_as_frame(picture, label, index), milliseconds))
        metadata = _describe([ms for _, ms in pairs], pairs[0][0])
        metadata.frames_indices = list(range(len(pairs)))
        return torch.from_numpy(np.stack([frame for frame, _ in pairs])), metadata
    metadata = _measure(data, label)
    metadata.frames_indices = [int(index) for index in select(metadata)]
    KEPT_PIXELS.check(len(metadata.frames_indices) * metadata.height * metadata.width, label)
    wanted = set(metadata.frames_indices)
    frames = {
        index: _as_frame(picture, label, index)
        for index, (picture, _) in enumerate(_moments(data, label))
        if index in wanted
    }
    return torch.from_numpy(np.stack([frames[index] for index in metadata.frames_indices])), metadata


def iter_animation(source: Path | BinaryIO, label: str) -> tuple[TimedVideoMetadata, Iterator[np.ndarray]]:
    """Opens an animated picture to be read moment by moment; it is composed once before that, to learn the times."""
    data = _read(source, label)
    moments = _moments(data, label)
    return _measure(data, label), (_as_frame(picture, label, index) for index, (picture, _) in enumerate(moments))


def _read(source: Path | BinaryIO, label: str) -> bytes:
    if isinstance(source, Path):
        data = source.read_bytes()
    else:
        source.seek(0)
        data = source.read()
    if data.startswith(SIGNATURE) and data[24:25] == b"\x10":
        warn_about_media(f"{label} has 16 bits per channel, of which a video keeps the upper 8.")
    return data


def _measure(data: bytes, label: str) -> TimedVideoMetadata:
    first, durations = None, []
    for picture, milliseconds in _moments(data, label):
        first = _as_frame(picture, label, 0) if first is None else first
        durations.append(milliseconds)
    return _describe(durations, first)


def _describe(durations: Sequence[float], first: np.ndarray) -> TimedVideoMetadata:
    shown = [_INSTEAD if milliseconds <= _SHORTEST else milliseconds for milliseconds in durations]
    edges = np.cumsum([0.0, *shown]) / 1000
    rates = [len(shown) / float(edges[-1])]
    fps, times, duration = describe_times(edges[:-1], float(edges[-1]), rates, exact_end=True)
    height, width = first.shape[:2]
    return TimedVideoMetadata(len(shown), fps, width, height, duration, "pillow", frame_times=times)


def _moments(data: bytes, label: str) -> Iterator[tuple[Image.Image, float]]:
    """What is shown one after another, each a still picture, and for how many milliseconds the file asks."""
    try:
        if is_animated_png(data):
            moments = composed_png(data)
        elif is_animated_gif(data):
            moments = composed_gif(data)
        else:
            moments = _pillow_moments(data, label)
        for count, (picture, milliseconds) in enumerate(moments, start=1):
            ANIMATION_PIXELS.check(count * picture.width * picture.height, label)
            yield picture, milliseconds
    except Image.DecompressionBombError as error:
        raise ValueError(f"{label}: {bomb_text(error)}") from error
    except DECODING_ERRORS as error:
        message = str(error) if str(error).startswith(label) else f"{label} is truncated or corrupt: {error}."
        raise ValueError(message) from error


def _pillow_moments(data: bytes, label: str) -> Iterator[tuple[Image.Image, float]]:
    with Image.open(io.BytesIO(data)) as image:
        total = getattr(image, "n_frames", 1)
        ANIMATION_FRAMES.check(total, label)
        if total == 1:
            raise ValueError(f"{label} is a still image; expected a video. Pass it as images=.")
        for index in range(total):
            image.seek(index)
            # A copy is a still image; its pixels are those that this moment of the animation shows.
            picture = image.copy()
            yield picture, image.info.get("duration", 0)


def _as_frame(picture: Image.Image, label: str, index: int) -> np.ndarray:
    """A moment as (H, W, 3) uint8."""
    pixels = pil_to_rgb(picture, f"{label}, frame {index}")
    if pixels.dtype != torch.uint8:
        raise ValueError(f"{label} holds {pixels.dtype} values; expected a video of 8 bits per channel.")
    return pixels.permute(1, 2, 0).numpy()
