"""The frames of a video stream as a player shows them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .deinterlacing_atoken import deinterlaced
from .media_warnings_atoken import warn_about_media
from .video_colors_atoken import ColorTags, frame_to_rgb
from .video_container_atoken import read_container_facts
from .video_geometry_atoken import cut, display_matrix, is_plausible_aspect, upright, with_square_pixels

# Decoders that give the transparency of these codecs; FFmpeg's own ones leave it out.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def choose_stream(container: Any, label: str) -> Any:
    """Returns the video stream that a player shows: no cover picture, a default one first, then the largest.

    Raises:
        ValueError: there is no video stream, or none that can be decoded; the message begins with `label`.
    """
    import av

    kinds = av.stream.Disposition
    streams = [stream for stream in container.streams.video if not stream.disposition & kinds.attached_pic]
    if not streams:
        raise ValueError(f"{label} holds no video stream; expected a video.")

    def rank(stream: Any) -> tuple[bool, bool, int]:
        context = stream.codec_context
        pixels = context.width * context.height if context is not None else 0
        return pixels > 0, bool(stream.disposition & kinds.default), pixels

    chosen = max(streams, key=rank)
    if chosen.codec_context is None:
        raise ValueError(f"{label} is encoded in a way that this build of PyAV does not decode. Re-encode it.")
    return chosen


class ShownFrames:
    """Decodes the frames of a stream in the order in which they are shown, and converts those that are wanted.

    Args:
        stream: PyAV's video stream, of which nothing has been decoded yet.
        label: what to call the file in errors and warnings.
    """

    def __init__(self, stream: Any, label: str) -> None:
        context = stream.codec_context
        if not context.is_open:
            context.thread_type = "AUTO"
        self._stream = stream
        self._label = label
        self._tags = ColorTags.of(context)
        self._crop, self._first_field = read_container_facts(stream)
        self._aspect = stream.sample_aspect_ratio or 1
        # The fourth byte of a pixel in an AVI without compression is not defined.
        self._alpha_may_be_unused = context.name == "rawvideo" and not context.codec_tag.strip("\0")
        # The last one decoded: it holds for the frames after it that state none.
        self._matrix: np.ndarray | None = None
        self._size: tuple[int, int] | None = None
        self._warned: set[str] = set()
        if not is_plausible_aspect(self._aspect):
            self._warn(f"says that its pixels are {self._aspect} as wide as high; they are taken to be square")
            self._aspect = 1

    def decode(self, container: Any) -> Iterator[Any]:
        """Yields PyAV's frames from where the container is, one for each coded picture, deinterlaced where needed.

        Raises:
            av.FFmpegError: the data cannot be decoded.
        """
        context = self._stream.codec_context
        metadata = {key.lower(): value for key, value in self._stream.metadata.items()}
        transparent = context.name in _ALPHA_DECODERS and metadata.get("alpha_mode") == "1"
        frames = self._decode_with_alpha(container) if transparent else container.decode(self._stream)
        interlaced = yield from deinterlaced(self._oriented(frames), context.name, self._first_field)
        if self._first_field is not None and not interlaced:
            self._warn("is interlaced by its container, but not by its frames, which are shown as they are")

    def to_rgb(self, frame: Any) -> np.ndarray:
        """Converts one of the decoded frames to (H, W, 3) uint8.

        What the container cuts off is gone, pixels are square, the picture is turned and mirrored as the file says,
        transparency is composited on white, and HDR and wide color are brought into sRGB, with a warning.

        Raises:
            ValueError: it is to be turned by other than a multiple of 90 degrees, has colors that cannot be converted,
                or another size than the first one.
        """
        tags = ColorTags.of(frame).or_else(self._tags)
        conversion = tags.conversion()
        if conversion is not None:
            self._warn(conversion)
        pixels = cut(frame_to_rgb(frame, tags, self._label, self._alpha_may_be_unused), self._crop)
        if self._aspect != 1:
            pixels = with_square_pixels(np.ascontiguousarray(pixels), self._aspect)
        matrix = display_matrix(frame)
        pixels = upright(pixels, self._matrix if matrix is None else matrix, self._label)
        self._size = self._size or pixels.shape[:2]
        if pixels.shape[:2] != self._size:
            raise ValueError(
                f"{self._label} changes its size from {self._size[1]}x{self._size[0]} to "
                f"{pixels.shape[1]}x{pixels.shape[0]}; expected frames of one size. Re-encode it."
            )
        return np.ascontiguousarray(pixels)

    def _oriented(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The frames, whose display matrices are noted."""
        for frame in frames:
            matrix = display_matrix(frame)
            self._matrix = self._matrix if matrix is None else matrix
            yield frame

    def _decode_with_alpha(self, container: Any) -> Iterator[Any]:
        import av

        try:
            context = av.CodecContext.create(_ALPHA_DECODERS[self._stream.codec_context.name], "r")
        except av.codec.codec.UnknownCodecError:
            self._warn("is transparent, which this build of PyAV cannot decode; its colors are shown without it")
            yield from container.decode(self._stream)
            return
        looked = False
        for packet in container.demux(self._stream):
            if not looked:
                # Only the stream's own decoder is given what the container says of orientation.
                looked = any(True for _ in self._oriented(self._stream.decode(packet)))
            yield from context.decode(packet)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warn_about_media(f"{self._label} {text}.")
