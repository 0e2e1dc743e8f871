"""Arrays in .npy files that anybody may have written."""

import math
import os
from pathlib import Path

import numpy as np


def read_npy(path: Path) -> np.ndarray:
    """
    Reads an array of numbers.

    Args:
        path: a .npy file.

    Raises:
        ValueError: it is no such file, holds Python objects, or fewer bytes than its header announces.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        there, needed = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
        # Memory is taken for all that is announced before any of it is read.
        if min(shape, default=0) < 0 or needed > there:
            raise ValueError(f"its header announces {needed:,} bytes of numbers, it has {there:,}")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
