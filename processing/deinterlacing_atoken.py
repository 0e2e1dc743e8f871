"""Interlaced video to whole pictures: one frame out for each frame in, at its time."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any

# Codecs that say of each picture whether it is interlaced. Of the others only the container can know.
_CODECS_THAT_SAY = {
    "cavs", "dnxhd", "dvvideo", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "prores", "vc1", "vvc", "wmv3",
}  # fmt: skip
_SMALLEST = 4  # pixels of a side, below which there is nothing to interpolate from


def deinterlaced(frames: Iterable[Any], codec: str, first_field: str | None) -> Generator[Any, None, bool]:
    """Yields PyAV's frames, those that are interlaced with the lines of their second field interpolated.

    Progressive frames pass as they are, and so does a frame of a few pixels. An interlaced frame shows the moment of
    its first field. Up to three frames are held at a time.

    Args:
        frames: decoded frames in the order in which they are shown.
        codec: FFmpeg's name of the codec that they were decoded from.
        first_field: "tff" or "bff" if the container says that there are two fields, top or bottom field first.

    Returns:
        Whether any frame was interlaced, when the frames have come to their end.
    """
    stated = None if codec in _CODECS_THAT_SAY else first_field
    filtering, previous, any_interlaced = None, None, False
    for frame in frames:
        if filtering is not None and not filtering.fits(frame):
            yield from filtering.finish()
            filtering, previous = None, None
        if filtering is not None:
            yield from filtering.push(frame)
        elif (stated or frame.interlaced_frame) and min(frame.width, frame.height) >= _SMALLEST:
            filtering, any_interlaced = _Filtering(frame, stated), True
            if previous is not None:
                # It is out already, and only lends its lines to the interpolation.
                filtering.push_unseen(previous)
            yield from filtering.push(frame)
        else:
            yield frame
            previous = frame
    if filtering is not None:
        yield from filtering.finish()
    return any_interlaced


class _Filtering:
    """A graph of FFmpeg's bwdif filter, which holds back one frame, as it looks at both neighbors."""

    def __init__(self, frame: Any, stated: str | None) -> None:
        import av

        self._kind = (frame.width, frame.height, frame.format.name)
        self._time_base = frame.time_base
        self._unseen = 0
        self._graph = av.filter.Graph()
        source = self._graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(frame.time_base),
            pixel_aspect="1/1",
            colorspace=str(frame.colorspace),
            range=str(frame.color_range),
        )
        nodes = [source]
        if stated is not None:
            nodes.append(self._graph.add("setfield", stated))
        nodes.append(self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
        nodes.append(self._graph.add("buffersink"))
        self._graph.link_nodes(*nodes).configure()

    def fits(self, frame: Any) -> bool:
        return (frame.width, frame.height, frame.format.name) == self._kind

    def push_unseen(self, frame: Any) -> None:
        self._unseen += 1
        self._graph.push(frame)

    def push(self, frame: Any) -> Iterator[Any]:
        self._graph.push(frame)
        yield from self._pull()

    def finish(self) -> Iterator[Any]:
        self._graph.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[Any]:
        while True:
            try:
                frame = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return
            if self._unseen:
                self._unseen -= 1
                continue
            # The filter counts in half units of time.
            if frame.pts is not None:
                frame.pts = round(frame.pts * frame.time_base / self._time_base)
            frame.duration = round(frame.duration * frame.time_base / self._time_base)
            frame.time_base = self._time_base
            yield frame
