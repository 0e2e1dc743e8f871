"""Images and videos from arrays to files, each in one atomic step."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .atomic_files_atoken import atomic_file
from .video_opening_atoken import import_pyav

# Seconds of a tick where frames have times of their own: whole milliseconds and common rates fit, and MPEG-4 takes no
# denominator above 65535.
_TICK = Fraction(1, 60000)
_IMAGE_SAVE_OPTIONS = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
}


def write_image(path: str | os.PathLike, array: np.ndarray | torch.Tensor) -> None:
    """Write an image so that `path` never holds half a file.

    Args:
        path: ends in .png, .webp (both lossless), .jpg or .jpeg.
        array: (H, W, 3) uint8.

    Raises:
        FileNotFoundError: the directory of `path` does not exist.
        ValueError: another suffix, shape or dtype.
    """
    path = _check_target(path)
    options = _IMAGE_SAVE_OPTIONS.get(path.suffix.lower())
    if options is None:
        raise ValueError(f"path must be one of {', '.join(_IMAGE_SAVE_OPTIONS)}, got suffix {path.suffix!r}.")
    pixels = _check_pixels(array, "array", ("H", "W", 3))
    with atomic_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, **options)


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray | torch.Tensor | Iterable[np.ndarray],
    fps: float,
    codec: str = "libx264",
    crf: int | None = 18,
    times: Sequence[float] | None = None,
) -> None:
    """Write a video so that `path` never holds half a file.

    Chroma is halved (yuv420p, which every player shows) unless a side is odd: then it is kept whole (yuv444p), so that
    no pixel is cropped or padded. RGB codecs such as libx264rgb keep RGB; with crf=0 they are lossless.

    Args:
        path: its suffix chooses the container: .mp4, .mkv, .mov, .webm, ...
        frames: (T, H, W, 3) uint8, or an iterable over frames (H, W, 3) of one size, which are written as they come. An
            error that it raises passes through, and nothing is left behind.
        fps: frames per second, positive; with `times`, what the file is to state as their mean.
        codec: the name of an FFmpeg encoder.
        crf: constant rate factor of the encoder, 0 is best; None leaves the encoder's default.
        times: seconds at which each frame appears, growing, for frames that are not even; one more, if given, says
            when the last frame ends.

    Raises:
        FileNotFoundError: the directory of `path` does not exist.
        ValueError: `frames`, `fps`, `times`, `codec` or `path` cannot be encoded.
        ImportError: PyAV is not installed.
    """
    av = import_pyav()
    path = _check_target(path)
    if isinstance(frames, (np.ndarray, torch.Tensor)):
        frames = _check_pixels(frames, "frames", ("T", "H", "W", 3))
    if isinstance(fps, bool) or not isinstance(fps, (int, float, Fraction)) or not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number of frames per second, got {fps!r}.")
    ticks = None if times is None else _ticks(times)
    try:
        pixel_formats = {pixel_format.name for pixel_format in av.Codec(codec, "w").video_formats or ()}
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f'codec must be an FFmpeg video encoder such as "libx264", got {codec!r}.') from error
    height, width, arrays = _first_size(frames)
    odd = height % 2 or width % 2
    wanted = ("rgb24", "bgr0", "gbrp") if codec.endswith("rgb") else ("yuv444p",) if odd else ("yuv420p", "yuv444p")
    pixel_format = next((found for found in wanted if found in pixel_formats), None)
    if pixel_format is None:
        raise ValueError(
            f"codec: {codec!r} cannot encode frames of {height}x{width} without losing pixels; it "
            f'takes {", ".join(sorted(pixel_formats))}. Use "libx264".'
        )
    with atomic_file(path) as temporary:
        rate = Fraction(fps).limit_denominator(65535)
        try:
            _encode(av, temporary, arrays, (height, width), rate, codec, crf, pixel_format, ticks)
        except (av.FFmpegError, _UnwritableVideo) as error:
            raise ValueError(f"path: cannot write {str(path)!r} with codec={codec!r}: {error}.") from error


class _UnwritableVideo(ValueError):
    """A container, codec and size that do not go together, told apart from errors of the frames' own source."""


def _first_size(frames: Iterable[np.ndarray]) -> tuple[int, int, Iterator[np.ndarray]]:
    """Height and width of the first frame, and all frames, each checked as it comes."""
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("frames must be at least one, got no frame.")
    first = _check_pixels(first, "frames[0]", ("H", "W", 3))

    def rest() -> Iterator[np.ndarray]:
        for index, frame in enumerate(source, start=1):
            frame = _check_pixels(frame, f"frames[{index}]", ("H", "W", 3))
            if frame.shape != first.shape:
                raise ValueError(f"frames[{index}] must be one size, got {frame.shape} after {first.shape}.")
            yield frame

    return *first.shape[:2], chain([first], rest())


def _encode(
    av: Any,
    path: Path,
    arrays: Iterable[np.ndarray],
    size: tuple[int, int],
    rate: Fraction,
    codec: str,
    crf: int | None,
    pixel_format: str,
    ticks: list[int] | None,
) -> None:
    try:
        container = av.open(str(path), "w")
    except ValueError as error:
        raise _UnwritableVideo(str(error)) from error
    with container:
        try:
            stream = container.add_stream(codec, rate=rate)
        except ValueError as error:
            raise _UnwritableVideo(str(error)) from error
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.options = {} if crf is None else {"crf": str(crf)}
        if codec == "libx264":
            # Its macroblock tree may give another file in every run.
            stream.options = {**stream.options, "x264-params": "mbtree=0"}
        if ticks is not None:
            stream.codec_context.time_base = _TICK
            # Frames that are stored in the order in which they are shown: containers then keep each one's duration.
            stream.options = {**stream.options, "bf": "0"}
        is_yuv = pixel_format.startswith("yuv")
        if is_yuv:
            # State the matrix in the file: players guess it from the height otherwise. 1 is BT.709 and studio range.
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        count = 0
        for count, array in enumerate(arrays, start=1):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709" if is_yuv else None)
            if ticks is not None:
                _check_count(ticks, count, at_least=True)
                frame.pts, frame.time_base = ticks[count - 1], _TICK
            _mux(container, stream.encode(frame), ticks)
        _mux(container, stream.encode(), ticks)
    if ticks is not None:
        _check_count(ticks, count)


def _mux(container: Any, packets: Iterable[Any], ticks: list[int] | None) -> None:
    for packet in packets:
        if ticks is not None:
            # Encoders do not hand durations on.
            index = bisect_left(ticks, packet.pts)
            if index + 1 < len(ticks):
                packet.duration = ticks[index + 1] - ticks[index]
        container.mux(packet)


def _ticks(times: Sequence[float]) -> list[int]:
    """Seconds as ticks, each after the one before."""
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all() or (seconds < 0).any() or (np.diff(seconds) < 0).any():
        raise ValueError(f"times must be growing seconds, one for each frame, got {_shortened(times)}.")
    ticks: list[int] = []
    for value in seconds.tolist():
        tick = round(value / _TICK)
        ticks.append(max(tick, ticks[-1] + 1) if ticks else tick)
    return ticks


def _shortened(times: Sequence[float]) -> str:
    return f"{str(list(times[:8]))[:-1]}, ...]" if len(times) > 8 else str(list(times))


def _check_count(ticks: list[int], frames: int, at_least: bool = False) -> None:
    if frames > len(ticks) or (not at_least and len(ticks) > frames + 1):
        counted = f"more than {frames - 1}" if at_least else frames
        raise ValueError(f"times must be one for each frame, got {len(ticks)} for {counted} frames.")


def _check_target(path: str | os.PathLike) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"path must be a path, got {type(path).__name__}.")
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"path must be the name of a file to write, got {str(path)!r}, which is a directory.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: there is no directory {str(path.parent)!r} to write {path.name!r} into.")
    return path


def _check_pixels(value: Any, name: str, axes: tuple) -> np.ndarray:
    expected = f"uint8 ({', '.join(map(str, axes))}) with no empty side"
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name} must be {expected}, got {type(value).__name__}.")
    if value.dtype != np.uint8 or value.ndim != len(axes) or value.shape[-1] != 3 or value.size == 0:
        raise ValueError(
            f'{name} must be {expected}, got {value.dtype} {value.shape}. post_process(..., output_type="np") '
            "gives such arrays."
        )
    return np.ascontiguousarray(value)
