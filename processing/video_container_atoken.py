"""What a container says of a video stream and PyAV does not hand out, read from FFmpeg's description of it."""

import re
import threading
from typing import Any, NamedTuple

_log_level = threading.Lock()


class ContainerFacts(NamedTuple):
    """
    Holds what players must do to the frames of a stream.

    Attributes:
        crop: columns and rows to cut off: left, right, top, bottom. FFmpeg leaves this to players; what H.264 and its
            successors cut themselves is gone when a frame is decoded.
        first_field: "tff" or "bff" if the container says that pictures have two fields, top or bottom field first;
            None if it says that they have one, or nothing.
    """

    crop: tuple[int, int, int, int]
    first_field: str | None


def read_container_facts(stream: Any) -> ContainerFacts:
    """Reads what the container of PyAV's stream says of it."""
    streams = re.split(r"^\s*Stream #0:(\d+)", _description(stream.container), flags=re.MULTILINE)
    about = dict(zip(streams[1::2], streams[2::2], strict=True)).get(str(stream.index), "")
    first_line = about.partition("\n")[0]
    field = re.search(r"\b(top|bottom) (?:coded )?first", first_line)
    crop = re.search(r"^\s*frame cropping: (\d+)/(\d+)/(\d+)/(\d+)$", about, flags=re.IGNORECASE | re.MULTILINE)
    return ContainerFacts(
        crop=tuple(map(int, crop.groups())) if crop else (0, 0, 0, 0),
        # Of the orders in which one field is stored first and the other shown first, FFmpeg's decoders go by storage.
        first_field={"top": "tff", "bottom": "bff"}[field[1]] if field else None,
    )


def _description(container: Any) -> str:
    """What `ffprobe` prints of a file; PyAV gives it only while it listens to FFmpeg's messages."""
    import av

    with _log_level:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            return container.dumps_format()
        finally:
            av.logging.set_level(level)
