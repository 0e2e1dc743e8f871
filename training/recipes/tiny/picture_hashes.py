"""The difference hash of pictures, by which scaled and recompressed copies of a picture are found.

The hash (N. Krawetz, "Kind of Like That", 2013) says of 8 x 8 places of a tiny gray copy whether it is brighter to
their right. Copies of one picture differ in few of the 64 bits, and different pictures in about half of them.
"""

import numpy as np
from PIL import Image

BITS_APART = 5  # hashes that differ in no more bits than this are of one picture


def difference_hash(picture: Image.Image) -> str:
    """Gives the difference hash of a picture, as 16 hexadecimal digits (row by row, most significant bit first)."""
    small = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def bits_between(first: str, second: str) -> int:
    """Counts the bits in which two hashes differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
