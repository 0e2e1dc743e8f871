"""Target sizes for a resize that was asked for. Without a request, media keep their native resolution."""

import math
from collections.abc import Mapping, Sequence

_SIZE_FORMS = (
    {"height", "width"},
    {"shortest_edge"},
    {"longest_edge"},
    {"shortest_edge", "longest_edge"},
    {"min_pixels", "max_pixels"},
)
_EXPECTED = (
    '{"height", "width"}, {"shortest_edge"}, {"longest_edge"}, {"shortest_edge", "longest_edge"} or '
    '{"min_pixels", "max_pixels"} with positive integers'
)


def check_resize_request(
    do_resize: bool | None,
    size: Mapping[str, int] | None,
    min_pixels: int | None,
    max_pixels: int | None,
    patch: Sequence[int] = (16, 16),
) -> tuple[dict[str, int], int | None, int | None]:
    """Validate the resize arguments and say what was asked for.

    Args:
        do_resize: None resizes when `size`, `min_pixels` or `max_pixels` is given; False never resizes; True demands
            that one of them is given.
        size: a dictionary of one of the accepted forms.
        min_pixels: smallest height * width.
        max_pixels: largest height * width.
        patch: (rows, columns) of a patch.

    Returns:
        `size` as a dictionary (empty if none), `min_pixels`, `max_pixels`: all empty when nothing is to be resized.

    Raises:
        ValueError: a value is not a positive integer, the forms contradict each other, or a bound is below one patch.
    """
    size = {} if size is None else dict(size)
    if size and set(size) not in _SIZE_FORMS:
        raise ValueError(f"size must be {_EXPECTED}, got {size}.")
    for name, value in [*size.items(), ("min_pixels", min_pixels), ("max_pixels", max_pixels)]:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            where = f"size[{name!r}]" if name in size else name
            raise ValueError(f"{where} must be a positive integer, got {value!r}.")
    if size and (min_pixels is not None or max_pixels is not None):
        raise ValueError(
            f"size must be given without bounds, got {size} together with min_pixels={min_pixels}, "
            f"max_pixels={max_pixels}. Pass None for those that are not wanted."
        )
    if "min_pixels" in size:
        min_pixels, max_pixels, size = size["min_pixels"], size["max_pixels"], {}
    if size.get("longest_edge") and size.get("shortest_edge", 0) > size["longest_edge"]:
        raise ValueError(f"size must have shortest_edge <= longest_edge, got {size}.")
    if max_pixels is not None and max_pixels < patch[0] * patch[1]:
        raise ValueError(
            f"max_pixels must be at least {patch[0] * patch[1]}, the pixels of one patch, got {max_pixels}."
        )
    if min_pixels is not None and max_pixels is not None and min_pixels > max_pixels:
        raise ValueError(f"min_pixels must be at most max_pixels = {max_pixels}, got {min_pixels}.")
    if do_resize and not size and min_pixels is None and max_pixels is None:
        raise ValueError(
            "do_resize must have a target, got True without a target. Pass size, min_pixels or max_pixels as well."
        )
    if do_resize is False:
        return {}, None, None
    return size, min_pixels, max_pixels


def resized_size(
    height: int,
    width: int,
    size: Mapping[str, int],
    min_pixels: int | None,
    max_pixels: int | None,
    patch: Sequence[int] = (16, 16),
) -> tuple[int, int]:
    """Height and width after the resize that `check_resize_request` accepted.

    `{"height", "width"}` is taken exactly. Edges keep the aspect ratio: the shortest edge is met unless the longest
    would then exceed its limit. Pixel bounds keep the aspect ratio up to rounding the sides to whole patches, and only
    touch media outside the bounds.

    Raises:
        ValueError: no whole number of patches of this aspect ratio lies between `min_pixels` and `max_pixels`.
    """
    if "height" in size:
        return size["height"], size["width"]
    if size:
        scales = []
        if "shortest_edge" in size:
            scales.append(size["shortest_edge"] / min(height, width))
        if "longest_edge" in size:
            scales.append(size["longest_edge"] / max(height, width))
        return max(1, round(height * min(scales))), max(1, round(width * min(scales)))

    pixels = height * width
    if max_pixels is not None and pixels > max_pixels:
        rounded, bound = math.floor, max_pixels
    elif min_pixels is not None and pixels < min_pixels:
        rounded, bound = math.ceil, min_pixels
    else:
        return height, width
    scale = math.sqrt(bound / pixels)
    # A hair of slack keeps a side that is a whole number of patches from being rounded to its neighbor.
    slack = 1e-9 if rounded is math.floor else -1e-9
    rows = max(1, rounded(height * scale / patch[0] + slack))
    columns = max(1, rounded(width * scale / patch[1] + slack))
    if max_pixels is not None:
        # Very long media: one side is held up at a single patch, so the other has to give way.
        limit = max_pixels // (patch[0] * patch[1])
        if rows * columns > limit:
            rows, columns = (rows, limit // rows) if rows <= columns else (limit // columns, columns)
    target = rows * patch[0], columns * patch[1]
    if min_pixels is not None and target[0] * target[1] < min_pixels:
        raise ValueError(
            f"min_pixels must leave a size in whole {patch[0]}x{patch[1]} patches below max_pixels={max_pixels} "
            f"for media of {height}x{width}, got {min_pixels}. Move the two bounds apart."
        )
    return target
