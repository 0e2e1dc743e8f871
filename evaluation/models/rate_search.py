"""The best quality of a codec that stays within a budget of bytes."""

from collections.abc import Callable


def largest_within(encode: Callable[[int], bytes], low: int, high: int, budget: float) -> bytes:
    """
    Bisects a codec's integer quality.

    Args:
        encode: a quality from `low` (smallest files) to `high` -> a file.
        budget: bytes.

    Returns:
        The file of the highest quality found that is no larger than the budget; that of `low` if none is.
    """
    best, low = encode(low), low + 1
    while low <= high:
        middle = (low + high) // 2
        data = encode(middle)
        if len(data) <= budget:
            best, low = data, middle + 1
        else:
            high = middle - 1
    return best
