"""Frames of video files for training: by torchcodec where it shows what the rest of the package shows, else by PyAV.

torchcodec takes about half of the time. Frames are the same to the bit, but for interlaced video, of which it shows
both fields at once.
"""

from pathlib import Path
from typing import Any

import torch

from atoken.tokenizing.clips import Select, read_frames

try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, RuntimeError, OSError):  # not there, or FFmpeg's libraries are not
    VideoDecoder = None

# What torchcodec turns into RGB as PyAV does. Of other video the package converts colors, turns or stretches frames.
_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4"}
_FORMATS = {"yuv420p", "yuvj420p", "yuv422p", "yuv444p"}
_COLORS = {None, "unknown", "bt709", "smpte170m", "bt470bg"}
_TRANSFERS = {*_COLORS, "bt470m", "iec61966-2-1"}


def read_clip(media: Path | str | bytes, select: Select) -> torch.Tensor:
    """
    Reads the selected frames of a video or an animated picture: (T, 3, H, W) uint8; see `read_frames`.

    No other frame is kept, however long the video is.

    Raises:
        ValueError: it is damaged, has no frames, or has not those that were selected.
    """
    frames = None if VideoDecoder is None else _by_torchcodec(media, select)
    return read_frames(media, select) if frames is None else frames


def _by_torchcodec(media: Path | str | bytes, select: Select) -> torch.Tensor | None:
    """Reads the frames; None where that is for PyAV to do, or to say what is wrong."""
    try:
        decoder = VideoDecoder(media if isinstance(media, bytes) else str(media), num_ffmpeg_threads=1)
        facts = decoder.metadata
        if not _is_plain(facts) or not len(decoder) or not facts.average_fps:
            return None
        found = decoder.get_frames_at(list(select(len(decoder), facts.average_fps)))
    except (RuntimeError, IndexError, ValueError):
        return None
    return found.data


def _is_plain(facts: Any) -> bool:
    return (
        facts.codec in _CODECS
        and facts.pixel_format in _FORMATS
        and {facts.color_primaries, facts.color_space} <= _COLORS
        and facts.color_transfer_characteristic in _TRANSFERS
        and facts.pixel_aspect_ratio in (None, 0, 1)
        and not facts.rotation
    )
