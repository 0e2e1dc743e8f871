"""Pictures for people: grids of samples, and samples above their nearest neighbors of training."""

from pathlib import Path

import numpy as np
from PIL import Image

from atoken.processing.atomic_files_atoken import atomic_file

_GAP = 2  # pixels between pictures


def save_grid(rows: list[np.ndarray], path: Path) -> None:
    """Writes rows of pictures, each (N, 3, H, W) uint8 of one size, as a PNG with white lines between."""
    lines = [
        np.concatenate([np.pad(each, ((0, 0), (0, _GAP), (0, _GAP)), constant_values=255) for each in row], axis=2)
        for row in rows
    ]
    whole = np.concatenate(lines, axis=1)[:, :-_GAP, :-_GAP].transpose(1, 2, 0)
    with atomic_file(path) as temporary:
        Image.fromarray(np.ascontiguousarray(whole)).save(temporary, format="PNG")
