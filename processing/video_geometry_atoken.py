"""Where the pixels of a decoded frame are shown: cut, made square, turned and mirrored."""

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

# Beyond this a pixel aspect ratio is an error of the file: the most oblong that are in use are 2:1.
_MOST_OBLONG = 8


def display_matrix(frame: Any) -> np.ndarray | None:
    """Reads the 3x3 matrix by which PyAV's frame is to be turned and mirrored; None if there is none."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError as error:
        # PyAV knows the kinds of one release of FFmpeg, and refuses all if one is newer. Take that one away.
        return display_matrix(_without_side_data(frame, str(error)))
    except KeyError:
        return None
    return None if data is None else np.frombuffer(bytes(data), dtype=np.int32)[:9].reshape(3, 3)


def upright(pixels: np.ndarray, matrix: np.ndarray | None, label: str) -> np.ndarray:
    """Turns and mirrors (H, W, 3) as a display matrix says, into (H, W, 3) or (W, H, 3).

    Raises:
        ValueError: the matrix turns by an angle that is no multiple of 90 degrees, or shears.
    """
    if matrix is None:
        return pixels
    # A pixel at column x and row y is shown at column a * x + c * y and row b * x + d * y.
    (a, b), (c, d) = matrix[:2, :2].tolist()
    scale = max(abs(a), abs(b), abs(c), abs(d))
    straight = max(abs(b), abs(c)) <= 0.01 * scale
    crosswise = max(abs(a), abs(d)) <= 0.01 * scale
    if scale == 0 or (straight and not (a and d)) or (crosswise and not (b and c)):
        return pixels  # it shows nothing at all, which cannot be meant
    if straight:
        flipped_rows, flipped_columns = d < 0, a < 0
    elif crosswise:
        pixels = pixels.swapaxes(0, 1)
        flipped_rows, flipped_columns = b < 0, c < 0
    else:
        angle = round(math.degrees(math.atan2(-b, a)))
        raise ValueError(f"{label} is to be shown turned by {angle} degrees; expected a multiple of 90.")
    return pixels[:: -1 if flipped_rows else 1, :: -1 if flipped_columns else 1]


def cut(pixels: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    """Cuts columns and rows off (H, W, 3): left, right, top, bottom. A crop that leaves nothing is left out."""
    left, right, top, bottom = crop
    height, width = pixels.shape[:2]
    if left + right >= width or top + bottom >= height:
        return pixels
    return pixels[top : height - bottom, left : width - right]


def is_plausible_aspect(aspect: Fraction) -> bool:
    """Tells whether pixels may have this ratio of width and height."""
    return Fraction(1, _MOST_OBLONG) <= aspect <= _MOST_OBLONG


def with_square_pixels(pixels: np.ndarray, aspect: Fraction) -> np.ndarray:
    """Enlarges the width or the height of (H, W, 3) uint8 whose pixels are `aspect` as wide as they are high."""
    height, width = pixels.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if size == (width, height):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _without_side_data(frame: Any, message: str) -> Any:
    """The frame without side data of the kind whose number is in PyAV's error message."""
    import av

    number = re.search(r"\d+", message)
    if number is None:
        raise ValueError(message)
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=frame, time_base=frame.time_base or Fraction(1, 1000)),
        graph.add("sidedata", f"mode=delete:type={number[0]}"),
        graph.add("buffersink"),
    ).configure()
    graph.push(frame)
    return graph.vpull()
