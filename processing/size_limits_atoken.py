"""How much a file may ask for: limits that keep a small file of a stranger from taking all memory.

A picture may have as many pixels as Pillow accepts, twice `PIL.Image.MAX_IMAGE_PIXELS`, in whatever format. The other
limits count what Pillow does not see. Each can be set by an environment variable, which is read when a file is.
"""

import os
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class SizeLimit:
    """
    Holds how much of something is accepted.

    Args:
        variable: the environment variable that sets another number.
        default: the number without it.
        what: is counted, such as "bytes".
    """

    variable: str
    default: int
    what: str

    @property
    def value(self) -> int:
        """Gives the number that holds now; `ValueError` if the variable holds no positive integer."""
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return self.default
        if not text.isdecimal() or len(text) > 18 or int(text) < 1:
            raise ValueError(f"{self.variable} must be a positive integer of up to 18 digits, got {text[:40]!r}.")
        return int(text)

    def check(self, amount: int, label: str) -> None:
        """
        Raises a ValueError if `amount` is above the limit.

        Args:
            amount: of what is counted.
            label: what has so much of it, in front of the message.
        """
        if amount > self.value:
            raise ValueError(
                f"{label} must have at most {self.value:,} {self.what}, got {amount:,}. If you trust the file, set the "
                f"environment variable {self.variable} to a larger number."
            )


ANIMATION_FRAMES = SizeLimit("ATOKEN_MAX_ANIMATION_FRAMES", 100_000, "frames")
ANIMATION_PIXELS = SizeLimit("ATOKEN_MAX_ANIMATION_PIXELS", 2**35, "pixels in all of its frames together")
# Three bytes each: 24 GiB.
KEPT_PIXELS = SizeLimit("ATOKEN_MAX_KEPT_PIXELS", 2**33, "pixels in all frames that are kept in memory")
# About a hundred bytes for each face, twice for a moment; no triangles have more vertices than three each.
MESH_FACES = SizeLimit("ATOKEN_MAX_MESH_FACES", 2**25, "faces")
# Twelve bytes each: 6 GiB.
TEXTURE_PIXELS = SizeLimit("ATOKEN_MAX_TEXTURE_PIXELS", 2**29, "pixels in all of its textures together")
DOWNLOAD_BYTES = SizeLimit("ATOKEN_MAX_DOWNLOAD_BYTES", 2**28, "bytes")
JSON_BYTES = SizeLimit("ATOKEN_MAX_JSON_BYTES", 2**28, "bytes")

_RAISE_PICTURES = "If you trust the file, set PIL.Image.MAX_IMAGE_PIXELS to a larger number."


def check_picture_size(width: int, height: int) -> None:
    """
    Checks a picture that Pillow does not open itself, by the limit of those that it opens.

    Raises:
        Image.DecompressionBombError: it has more than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise Image.DecompressionBombError(
            f"it has {width}x{height} pixels, and pictures may have {2 * limit:,}. {_RAISE_PICTURES}"
        )


def bomb_text(error: Image.DecompressionBombError) -> str:
    """Gives the message of a picture with too many pixels, with how to accept it where Pillow wrote the message."""
    text = str(error)
    return text if _RAISE_PICTURES in text else f"{text} {_RAISE_PICTURES}"
