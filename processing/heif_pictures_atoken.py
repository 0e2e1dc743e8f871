"""HEIC and HEIF pictures, which pillow-heif reads where it is installed."""

import numpy as np

from .color_management_atoken import colors_of_codes
from .size_limits_atoken import check_picture_size
from .stored_pictures_atoken import StoredPicture, scale_to_sixteen_bits

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
_AVIF_BRANDS = (b"avif", b"avis")


def is_heif(head: bytes) -> bool:
    """Tells from the first bytes of a file whether it is HEIC or HEIF, and not AVIF, which is built in the same way."""
    size = int.from_bytes(head[:4], "big")
    if head[4:8] != b"ftyp":
        return False
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
    return brands[0] in HEIF_BRANDS and not any(brand in _AVIF_BRANDS for brand in brands)


def read_heif(data: bytes, label: str) -> StoredPicture:
    """Reads the main picture of a file, upright, with all its bits.

    Args:
        data: the whole file.
        label: what to call it in an error message.

    Raises:
        ImportError: pillow-heif is not installed.
        ValueError: the file is truncated or corrupt.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise ImportError(
            f'{label} is a HEIC picture, which is read with pillow-heif: pip install "atoken[heif]". Or convert it to '
            "JPEG, PNG or AVIF."
        ) from error
    try:
        file = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        picture = file[file.primary_index]
        check_picture_size(*picture.size)
        samples = np.asarray(picture)
    except (OSError, RuntimeError, EOFError, SyntaxError, ValueError) as error:
        raise ValueError(f"{label} is a HEIC picture that is truncated or corrupt: {error}.") from error
    kind = picture.mode.split(";")[0]
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.dtype != np.uint8:
        samples = scale_to_sixteen_bits(samples, 2 ** picture.info["bit_depth"] - 1)
    has_alpha = kind in ("LA", "La", "RGBA", "RGBa")
    colors = picture.info.get("icc_profile")
    nclx = picture.info.get("nclx_profile")
    if not colors and nclx:
        colors = colors_of_codes(nclx["color_primaries"], nclx["transfer_characteristics"], True, label)
    # The decoder has turned the picture; the orientation in EXIF repeats what it did.
    return StoredPicture(
        samples[..., :-1] if has_alpha else samples,
        samples[..., -1] if has_alpha else None,
        kind in ("La", "RGBa"),
        colors or None,
    )
