"""Opening video files with PyAV, and none that would have FFmpeg open other files or ask the network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from .size_limits_atoken import check_picture_size
from .video_frames_atoken import choose_stream

# Formats that PyAV opens although they are no videos: single pictures, and text drawn as an old terminal would.
_STILL_FORMATS = ("image2", "_pipe")
_TEXT_FORMATS = ("tty",)
# Formats whose files are read together with other files, or tell where a stream comes from.
_LEADING_ELSEWHERE = frozenset(
    "concat dash hls applehttp imf webm_dash_manifest sdp rtsp rtp sap vobsub mlv avisynth vapoursynth lavfi".split()
)
_HEAD_BYTES = 4096


def import_pyav() -> Any:
    """Imports PyAV, with an `ImportError` that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise ImportError('Video files are read and written with PyAV: pip install "atoken[video]".') from error
    return av


def _refuse_playlist(head: bytes, label: str) -> None:
    if head.startswith((b"#EXTM3U", b"ffconcat", b"v=0")) or b"<MPD" in head or b"<CompositionPlaylist" in head:
        raise ValueError(
            f"{label} is a playlist, which names other files and addresses; expected a video. Pass the video itself."
        )


@contextmanager
def open_stream(source: Any, label: str) -> Iterator[tuple[Any, Any]]:
    """
    Opens the container and the video stream that is shown.

    Args:
        source: a path or a binary file object that can seek.
        label: what to call the file in errors.

    Raises:
        ValueError: it is a text file or a still image, or holds no video stream.
        av.FFmpegError: PyAV cannot open it.
    """
    av = import_pyav()
    if hasattr(source, "seek"):
        source.seek(0)
        head = source.read(_HEAD_BYTES)
        source.seek(0)
    else:
        with open(source, "rb") as file:
            head = file.read(_HEAD_BYTES)
        # Of a path with a colon in front of a slash, FFmpeg would take the beginning for a protocol.
        source = os.path.abspath(source)
    _refuse_playlist(head, label)
    # FFmpeg finds out by itself what a file is; formats that lead to other files and addresses are not among those that
    # it may find.
    allowed = {"format_whitelist": ",".join(sorted(av.formats_available - _LEADING_ELSEWHERE))}
    # Titles that are not in UTF-8 are no reason not to show the pictures.
    with av.open(source, metadata_errors="replace", options=allowed) as container:
        formats = container.format.name.split(",")
        if any(found in _TEXT_FORMATS for found in formats):
            raise ValueError(f"{label} is a text file; expected a video.")
        if any(found.endswith(_STILL_FORMATS) for found in formats):
            raise ValueError(f"{label} is a still image; expected a video. Pass it as images=.")
        stream = choose_stream(container, label)
        check_frame_size(stream.codec_context.width, stream.codec_context.height, label)
        yield container, stream


def check_frame_size(width: int, height: int, label: str) -> None:
    """Raises a ValueError if frames have more pixels than pictures may have."""
    try:
        check_picture_size(width, height)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{label}: {error}") from error
