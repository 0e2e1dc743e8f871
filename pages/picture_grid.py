"""Pictures of one size side by side in one picture."""

import math

import torch
from torchvision.utils import make_grid

GAP = 2  # pixels between pictures, white


def picture_grid(pictures: torch.Tensor, columns: int | None = None) -> torch.Tensor:
    """
    Arranges pictures row by row, with gaps around each; a single one stays as it is.

    Args:
        pictures: (N, 3, H, W) uint8.
        columns: as many as make about a square when None.

    Returns:
        (rows, columns, 3) uint8 pixels.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    return make_grid(pictures, nrow=columns, padding=GAP, pad_value=255).permute(1, 2, 0).contiguous()
