"""Colors of vertices and faces as mesh files store them, in several types of numbers."""

from pathlib import Path

import numpy as np

from .media_warnings_atoken import warn_about_media


def color_shares(values: np.ndarray, owner: Path) -> np.ndarray:
    """Scales colors to [0, 1].

    Bytes reach to 255, unsigned 16-bit numbers to 65535. Floats reach to 1, and wider integers to 255; where they are
    larger, the next whole range is taken, and a warning says so.

    Args:
        values: (N, 3) of any type of numbers.
        owner: the file, for the warning.

    Returns:
        (N, 3) float64 in [0, 1].
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values / np.iinfo(values.dtype).max
    expected = 1 if values.dtype.kind == "f" else 255
    largest = values.max(initial=0)
    white = next((white for white in (expected, 255, 65535) if white >= expected and largest <= white), expected)
    if white != expected:
        warn_about_media(f"{owner}: its colors reach to {largest:g}; they are taken for numbers from 0 to {white}.")
    return (values / white).clip(0, 1)
