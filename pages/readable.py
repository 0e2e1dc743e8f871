"""Numbers and sizes as people read them."""


def number_text(value: float | None, digits: int, unit: str = "") -> str:
    """Writes a number with so many digits, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def size_text(media_size: list[int]) -> str:
    """Writes (frames, height, width) as width x height, and the frames of a video."""
    frames, height, width = media_size
    return f"{width} x {height}" + (f", {frames} frames" if frames > 1 else "")
