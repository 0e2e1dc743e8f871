"""The size to which a picture or a frame is resized before it is cut into patches (the rule of Oryx)."""

import math


def fitted_size(height: int, width: int, multiple: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """
    Gives height and width with both sides multiples of `multiple` and an area between two bounds.

    The aspect ratio is kept up to rounding sides down. A side is never less than `multiple`, so that very long media
    may exceed the area. All in integers: with floats a side that is an exact multiple can fall a unit short.

    Args:
        height, width: of the medium, in pixels.
        multiple: what the sides are to be divisible by, in pixels.
        min_pixels, max_pixels: smaller media are enlarged to about the first area, larger ones reduced to the second.

    Raises:
        ValueError: if an argument is out of range.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} x {width}")
    if multiple < 1:
        raise ValueError(f"multiple must be at least 1, got {multiple}")
    if not 0 <= min_pixels <= max_pixels or max_pixels < multiple * multiple:
        raise ValueError(
            f"min_pixels and max_pixels must be 0 <= min_pixels <= max_pixels, the second at least {multiple**2}, got "
            f"{min_pixels} and {max_pixels}"
        )
    area = height * width
    target = max_pixels if area > max_pixels else min_pixels if area < min_pixels else None

    def fitted(side: int) -> int:
        scaled = side if target is None else math.isqrt(target * side * side // area)
        return max(multiple, scaled // multiple * multiple)

    return fitted(height), fitted(width)


__all__ = ["fitted_size"]
