"""Pictures for the page: PNG bytes of pixels, and of plots."""

import io
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

DOTS = 100  # an inch, of plots


def png(pixels: torch.Tensor) -> bytes:
    """Compresses (H, W, 3) uint8 without loss."""
    target = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(target, format="PNG")
    return target.getvalue()


def plot(width: float, height: float, draw: Callable[[Any], None]) -> bytes:
    """
    Draws a figure of matplotlib.

    Args:
        width, height: in inches.
        draw: takes the empty figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "atoken[evaluation]"') from error
    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=DOTS)
    return target.getvalue()
