"""Animated pictures as layers, each painted over a part of what was shown before, and what they show together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from PIL import Image

from .size_limits_atoken import check_picture_size

TRANSPARENT = (0, 0, 0, 0)


class Disposal(Enum):
    """Says what becomes of a layer's part of the canvas once its time is over."""

    KEEP = "keep"
    CLEAR = "clear"
    RESTORE = "restore"


@dataclass(frozen=True)
class Layer:
    """
    Holds one frame as the file has it.

    Attributes:
        picture: RGBA, with what the file says about its colors in `info`.
        left, top: where it lies on the canvas.
        milliseconds: for how long the file asks to show it.
        disposal: what comes after it.
        blended: whether the canvas shows through where the layer is transparent, else the layer replaces it.
        cleared_to: the color of `Disposal.CLEAR`.
    """

    picture: Image.Image
    left: int
    top: int
    milliseconds: float
    disposal: Disposal
    blended: bool
    cleared_to: tuple[int, int, int, int] = TRANSPARENT


def compose(
    size: tuple[int, int], background: tuple[int, int, int, int], layers: Iterable[Layer]
) -> Iterator[tuple[Image.Image, float]]:
    """
    Paints the layers one after another on a canvas.

    Args:
        size: (width, height) of the canvas.
        background: what it is filled with at first.
        layers: in order; what lies outside of the canvas is cut off.

    Yields:
        What the canvas shows, RGBA, and for how many milliseconds.

    Raises:
        Image.DecompressionBombError: the canvas is larger than Pillow accepts pictures to be.
    """
    check_picture_size(*size)
    canvas = Image.new("RGBA", size, background)
    for layer in layers:
        before = canvas.copy() if layer.disposal is Disposal.RESTORE else None
        box = (
            layer.left,
            layer.top,
            min(layer.left + layer.picture.width, size[0]),
            min(layer.top + layer.picture.height, size[1]),
        )
        if box[0] < box[2] and box[1] < box[3]:
            picture = layer.picture.crop((0, 0, box[2] - box[0], box[3] - box[1]))
            canvas.paste(Image.alpha_composite(canvas.crop(box), picture) if layer.blended else picture, box)
        shown = canvas.copy()
        shown.info = dict(layer.picture.info)
        yield shown, layer.milliseconds
        if before is not None:
            canvas = before
        elif layer.disposal is Disposal.CLEAR and box[0] < box[2] and box[1] < box[3]:
            canvas.paste(layer.cleared_to, box)
