"""Some frames of a video file, without decoding all that lies before and behind them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from atoken.processing.media_reading_atoken import upright
from atoken.processing.pil_decoding_atoken import DECODING_ERRORS, pil_to_rgb

# Frames in the whole video and its frames per second -> the indices of those to read, ascending.
Select = Callable[[int, float], Sequence[int]]

_FPS = 25.0  # of files that do not say


def read_frames(media: Path | str | bytes, select: Select) -> torch.Tensor:
    """
    Reads the selected frames of a video or an animated picture, (T, 3, H, W) uint8.

    Of a video only the part that they lie in is decoded.

    Raises:
        ValueError: it is damaged, has no frames, or has not those that were selected.
    """
    if _is_webp(media):  # PyAV decodes other animated pictures, but not these
        frames, fps = _decode_webp(media)
        indices = list(select(len(frames), fps))
    else:
        frames, indices = _decode_selected(media, select)
    return torch.from_numpy(np.stack([frames[index] for index in indices])).permute(0, 3, 1, 2)


def _decode_selected(media: Path | str | bytes, select: Select) -> tuple[dict[int, np.ndarray], list[int]]:
    """Decodes the selected frames, by index, and gives the indices."""
    try:
        total, fps = _length(media)
        indices = list(select(total, fps)) if total else []
        frames = _decode_from(media, indices, fps) if indices else {}
        if len(frames) < len(set(indices)) or not indices:
            # The header counts wrongly or has no times: decode everything, and choose when the number is known.
            frames = _decode_all(media)
            indices = list(select(len(frames), fps))
    except av.FFmpegError as error:
        raise ValueError(_undecodable(media, error)) from error
    return frames, indices


def _open(media: Path | str | bytes) -> av.container.InputContainer:
    return av.open(io.BytesIO(media) if isinstance(media, bytes) else str(media))


def _undecodable(media: Path | str | bytes, error: Exception) -> str:
    given = f"{len(media)} bytes" if isinstance(media, bytes) else str(media)
    return f"media must be a video that can be decoded, got {given}: {error}"


def _length(media: Path | str | bytes) -> tuple[int, float]:
    """Reads how many frames the header announces, 0 if it does not, and the frames per second."""
    with _open(media) as container:
        if not container.streams.video:
            raise ValueError(_undecodable(media, ValueError("there is no video in it")))
        stream = container.streams.video[0]
        fps = float(stream.average_rate or stream.guessed_rate or _FPS)
        if stream.frames:
            return stream.frames, fps
        return (int(container.duration / 1e6 * fps) if container.duration else 0), fps


def _decode_from(media: Path | str | bytes, indices: list[int], fps: float) -> dict[int, np.ndarray]:
    """Decodes frames by index, as far as their times tell which they are."""
    found: dict[int, np.ndarray] = {}
    left = set(indices)
    with _open(media) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first = stream.start_time or 0
        if min(left):
            container.seek(first + int(min(left) / fps / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                return {}
            index = round(float((frame.pts - first) * stream.time_base) * fps)
            if index in left:
                found[index] = upright(frame)
                left.discard(index)
            if not left or index > indices[-1]:
                break
    return found


def _decode_all(media: Path | str | bytes) -> dict[int, np.ndarray]:
    with _open(media) as container:
        return {i: upright(frame) for i, frame in enumerate(container.decode(container.streams.video[0]))}


def _is_webp(media: Path | str | bytes) -> bool:
    if isinstance(media, bytes):
        return media[8:12] == b"WEBP"
    return Path(media).suffix.lower() == ".webp"


def _decode_webp(media: Path | str | bytes) -> tuple[list[np.ndarray], float]:
    """Decodes all frames of an animated WebP, and gives the frames per second."""
    try:
        with Image.open(io.BytesIO(media) if isinstance(media, bytes) else media) as image:
            frames, milliseconds = [], 0
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                # A copy is a still picture: what this moment of the animation shows.
                frames.append(pil_to_rgb(image.copy(), f"frame {index}").permute(1, 2, 0).numpy())
                milliseconds += image.info.get("duration", 0)
    except DECODING_ERRORS as error:
        raise ValueError(_undecodable(media, error)) from error
    return frames, 1000 * len(frames) / milliseconds if milliseconds else _FPS
