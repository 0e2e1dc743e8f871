"""Images and videos between files and tensors: reading with checks, writing in one atomic step."""

import io
import os
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from transformers.video_utils import VideoMetadata

from .atomic_files_atoken import atomic_file
from .pil_decoding_atoken import DECODING_ERRORS, pil_to_rgb

# Formats that PyAV opens although they are no videos: single pictures, and text drawn as an old terminal would.
_STILL_FORMATS = ("image2", "_pipe")
_TEXT_FORMATS = ("tty",)
_IMAGE_SAVE_OPTIONS = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
}


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


def open_image(path: str | os.PathLike, name: str = "path") -> torch.Tensor:
    """Read an image file.

    Args:
        path: any format that Pillow reads, holding one picture.
        name: what to call the argument in an error message.

    Returns:
        (3, H, W) RGB, upright, transparency composited on white: uint8, uint16 for files with 16 bits per channel, or
        float32 for floating point files.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: not an image, truncated, corrupt, of several frames or of an unsupported mode.
    """
    path = check_file(path, name)
    with open(path, "rb") as file:
        return _decode_image_file(file, f"{name}: {str(path)!r}")


def download_image(url: str, name: str = "url", timeout: float = 30.0) -> torch.Tensor:
    """Fetch an image over HTTP and decode it like `open_image`; `ValueError` naming `url` if that fails."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            data = response.read()
    except (OSError, ValueError, HTTPException) as error:
        raise ValueError(f"{name}: cannot download {url!r}: {error}.") from error
    return _decode_image_file(io.BytesIO(data), f"{name}: {url!r}")


def read_video(
    path: str | os.PathLike,
    select: Callable[[VideoMetadata], Sequence[int]] | None = None,
    name: str = "path",
) -> tuple[torch.Tensor, VideoMetadata]:
    """Read a video file, or an animated GIF, WebP or PNG.

    Args:
        path: anything PyAV decodes; animated pictures go through Pillow and need no PyAV.
        select: given the metadata of the whole video, the indices of the frames to keep; None keeps every frame.
            The file is decoded to its end either way, so that damage is noticed.
        name: what to call the argument in an error message.

    Returns:
        `frames` (T, H, W, 3) uint8, turned as the file's rotation says, and their `VideoMetadata`, in which
        `total_num_frames`, `fps` and `duration` describe the file and `frames_indices` the frames kept.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: not a video, truncated, corrupt, or with frames of several sizes.
        ImportError: PyAV is needed and not installed.
    """
    path, label, animated = _open_checks(path, name)
    return _read_animation(path, select, label) if animated else _read_with_pyav(path, select, label)


def iter_video(path: str | os.PathLike, name: str = "path") -> tuple[VideoMetadata, Iterator[np.ndarray]]:
    """Open a video to be read frame by frame, in memory that does not grow with its length.

    Args:
        path: as for `read_video`; animated pictures are decoded as a whole.
        name: what to call the argument in an error message.

    Returns:
        The `VideoMetadata` that the file states (`total_num_frames` is 0 if it states none), and an iterator over all
        frames, (H, W, 3) uint8, turned as the file's rotation says. Damage further on is raised as a `ValueError` by
        the iterator, at the frame where it shows and at the latest at the end.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `read_video`.
    """
    path, label, animated = _open_checks(path, name)
    if animated:
        frames, metadata = _read_animation(path, None, label)
        return metadata, iter(frames.numpy())
    av = _import_pyav()
    try:
        metadata = _probe(av, path, label)
    except av.FFmpegError as error:
        raise ValueError(_damaged(label, error)) from error
    return metadata, _iter_with_pyav(av, path, metadata.total_num_frames, label)


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
) -> None:
    """Write a video so that `path` never holds half a file.

    Chroma is halved (yuv420p, which every player shows) unless a side is odd: then it is kept whole (yuv444p), so that
    no pixel is cropped or padded. RGB codecs such as libx264rgb keep RGB; with crf=0 they are lossless.

    Args:
        path: its suffix chooses the container: .mp4, .mkv, .mov, .webm, ...
        frames: (T, H, W, 3) uint8, or an iterable over frames (H, W, 3) of one size, which are written as they come. An
            error that it raises passes through, and nothing is left behind.
        fps: frames per second, positive.
        codec: the name of an FFmpeg encoder.
        crf: constant rate factor of the encoder, 0 is best; None leaves the encoder's default.

    Raises:
        FileNotFoundError: the directory of `path` does not exist.
        ValueError: `frames`, `fps`, `codec` or `path` cannot be encoded.
        ImportError: PyAV is not installed.
    """
    av = _import_pyav()
    path = _check_target(path)
    if isinstance(frames, (np.ndarray, torch.Tensor)):
        frames = _check_pixels(frames, "frames", ("T", "H", "W", 3))
    if isinstance(fps, bool) or not isinstance(fps, (int, float, Fraction)) or not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number of frames per second, got {fps!r}.")
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
            _encode(av, temporary, arrays, (height, width), rate, codec, crf, pixel_format)
        except (av.FFmpegError, _UnwritableVideo) as error:
            raise ValueError(f"path: cannot write {str(path)!r} with codec={codec!r}: {error}.") from error


class _UnwritableVideo(ValueError):
    """A container, codec and size that do not go together, told apart from errors of the frames' own source."""


def _open_checks(path: str | os.PathLike, name: str) -> tuple[Path, str, bool]:
    """The path, what to call it in errors, and whether it is an animated (or still) picture."""
    path = check_file(path, name)
    label = f"{name}: {str(path)!r}"
    with open(path, "rb") as file:
        head = file.read(64)
    _check_announced_size(head, path.stat().st_size, label)
    return path, label, head.startswith((b"GIF8", b"\x89PNG")) or head[8:12] == b"WEBP"


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


def _import_pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError('Video files are read and written with PyAV: pip install "atoken[video]".') from error
    return av


def _decode_image_file(file: Any, label: str) -> torch.Tensor:
    try:
        image = Image.open(file)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{label} is not an image in a format that Pillow reads. If it is a video, pass it as videos=."
        ) from error
    except DECODING_ERRORS as error:
        raise ValueError(f"{label} cannot be opened as an image: {error}.") from error
    with image:
        return pil_to_rgb(image, label)


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


def _read_animation(
    path: Path, select: Callable[[VideoMetadata], Sequence[int]] | None, label: str
) -> tuple[torch.Tensor, VideoMetadata]:
    try:
        with Image.open(path) as image:
            total = getattr(image, "n_frames", 1)
            if total == 1:
                raise ValueError(f"{label} is a still image; expected a video. Pass it as images=.")
            frames, durations = [], []
            for index in range(total):
                image.seek(index)
                # A copy is a still image; its pixels are those that this moment of the animation shows.
                frame = pil_to_rgb(image.copy(), f"{label}, frame {index}")
                frames.append(frame.permute(1, 2, 0))
                durations.append(image.info.get("duration", 0))
    except DECODING_ERRORS as error:
        message = str(error) if str(error).startswith(label) else f"{label} is truncated or corrupt: {error}."
        raise ValueError(message) from error
    if frames[0].dtype != torch.uint8:
        raise ValueError(f"{label} holds {frames[0].dtype} values; expected a video of 8 bits per channel.")
    seconds = sum(durations) / 1000
    metadata = VideoMetadata(
        total_num_frames=total,
        fps=total / seconds if seconds > 0 else None,
        width=frames[0].shape[1],
        height=frames[0].shape[0],
        duration=seconds or None,
        video_backend="pillow",
    )
    metadata.frames_indices = _indices(select, metadata)
    return torch.stack([frames[index] for index in metadata.frames_indices]), metadata


def _read_with_pyav(
    path: Path, select: Callable[[VideoMetadata], Sequence[int]] | None, label: str
) -> tuple[torch.Tensor, VideoMetadata]:
    av = _import_pyav()
    try:
        metadata = _probe(av, path, label)
        announced = metadata.total_num_frames
        wanted = None if select is None or not announced else set(_indices(select, metadata))
        kept, decoded = _decode(av, path, wanted, announced, label)
        if wanted is not None and decoded != announced:
            # The container counted wrongly: keep every frame, and choose now that their number is known.
            kept, decoded = _decode(av, path, None, announced, label)
    except av.FFmpegError as error:
        raise ValueError(_damaged(label, error)) from error
    metadata.total_num_frames = decoded
    metadata.height, metadata.width = next(iter(kept.values())).shape[:2]
    if metadata.duration is None and metadata.fps:
        metadata.duration = decoded / metadata.fps
    metadata.frames_indices = _indices(select, metadata)
    frames = np.empty((len(metadata.frames_indices), metadata.height, metadata.width, 3), dtype=np.uint8)
    for position, index in enumerate(metadata.frames_indices):
        frames[position] = kept[index]
    return torch.from_numpy(frames), metadata


def _iter_with_pyav(av: Any, path: Path, expected: int, label: str) -> Iterator[np.ndarray]:
    try:
        for frame in _decoded_frames(av, path, expected, label):
            yield upright(frame)
    except av.FFmpegError as error:
        raise ValueError(_damaged(label, error)) from error


def _damaged(label: str, error: Any) -> str:
    return f"{label} is not a video, truncated or corrupt: {error.strerror or error}."


def _indices(select: Callable[[VideoMetadata], Sequence[int]] | None, metadata: VideoMetadata) -> list[int]:
    chosen = range(metadata.total_num_frames) if select is None else select(metadata)
    return [int(index) for index in chosen]


@contextmanager
def _video_stream(av: Any, path: Path, label: str) -> Iterator[tuple[Any, Any]]:
    with av.open(str(path)) as container:
        formats = container.format.name.split(",")
        if any(found in _TEXT_FORMATS for found in formats):
            raise ValueError(f"{label} is a text file; expected a video.")
        if any(found.endswith(_STILL_FORMATS) for found in formats):
            raise ValueError(f"{label} is a still image; expected a video. Pass it as images=.")
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise ValueError(f"{label} holds no video stream; expected a video.")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def _probe(av: Any, path: Path, label: str) -> VideoMetadata:
    """Metadata with the number of frames to expect, 0 if the container has no frame index to count them by."""
    with _video_stream(av, path, label) as (container, stream):
        announced = stream.frames
        received = expected = 0
        if announced:
            for packet in container.demux(stream):
                # The packet that flushes the decoder has no timestamp and no data.
                received += packet.size > 0 or packet.dts is not None
                expected += packet.size > 0 and not packet.is_discard
        if received < announced:
            raise ValueError(f"{label} is truncated: it announces {announced} frames and holds {received}.")
        rate = stream.average_rate or stream.guessed_rate
        duration = None
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / 1_000_000
        return VideoMetadata(
            total_num_frames=expected, fps=float(rate) if rate else None, duration=duration, video_backend="pyav"
        )


def _decode(
    av: Any, path: Path, wanted: set[int] | None, expected: int, label: str
) -> tuple[dict[int, np.ndarray], int]:
    """The wanted frames (H, W, 3) by index, None for all of them, and how many there are, at least `expected`."""
    kept, count = {}, 0
    for count, frame in enumerate(_decoded_frames(av, path, expected, label), start=1):
        if wanted is None or count - 1 in wanted:
            kept[count - 1] = upright(frame)
    return kept, count


def upright(frame: Any) -> np.ndarray:
    """PyAV's frame as (H, W, 3) uint8, turned as the file says."""
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def _decoded_frames(av: Any, path: Path, expected: int, label: str) -> Iterator[Any]:
    """PyAV's frames one after another, each checked, at least `expected` of them."""
    count, size = 0, None
    with _video_stream(av, path, label) as (container, stream):
        for count, frame in enumerate(container.decode(stream), start=1):
            if frame.is_corrupt:
                raise ValueError(f"{label} is corrupt: frame {count - 1} cannot be decoded.")
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise ValueError(
                    f"{label} changes its size from {size[0]}x{size[1]} to {frame.width}x{frame.height} at frame "
                    f"{count - 1}; expected frames of one size. Re-encode it."
                )
            if frame.rotation % 90:
                raise ValueError(
                    f"{label} is to be shown turned by {frame.rotation} degrees; expected a multiple of 90."
                )
            yield frame
    if count == 0:
        raise ValueError(f"{label} holds no frame that can be decoded; it is truncated or corrupt.")
    if count < expected:
        raise ValueError(f"{label} is truncated or corrupt: of {expected} frames only {count} can be decoded.")


def _encode(
    av: Any,
    path: Path,
    arrays: Iterable[np.ndarray],
    size: tuple[int, int],
    rate: Fraction,
    codec: str,
    crf: int | None,
    pixel_format: str,
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
        is_yuv = pixel_format.startswith("yuv")
        if is_yuv:
            # State the matrix in the file: players guess it from the height otherwise. 1 is BT.709 and studio range.
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        for array in arrays:
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709" if is_yuv else None)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


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
