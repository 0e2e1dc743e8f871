"""Photos and other pictures as they are stored for training and evaluation: JPEG files of a limited size."""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from atoken.processing.atomic_files_atoken import atomic_file

SHORT_SIDE = 768  # pictures are stored no larger than this: training crops are 512 px at most
# Kinds of pictures, and what is appended to the name of a package's folder.
KINDS = {"photo": "", "painting": "-paintings", "generated": "-generated", "texture": "-textures"}
# 4:4:4 and quality 95: the losses have to be small beside those of the tokenizers that are measured on these.
JPEG_OPTIONS: dict[str, Any] = {"quality": 95, "subsampling": 0, "optimize": True}


def load_photo(content: bytes) -> Image.Image:
    """Decodes a picture, upright and in RGB (gray ones are repeated over the channels, transparency is left out)."""
    with Image.open(io.BytesIO(content)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def save_photo(image: Image.Image, target: Path, short_side: int | None = None, long_side: int | None = None) -> None:
    """Writes a picture scaled down, never up, until its short or its long side is as given."""
    scale = short_side / min(image.size) if short_side else (long_side or max(image.size)) / max(image.size)
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    with atomic_file(target) as temporary:
        image.save(temporary, "JPEG", **JPEG_OPTIONS)


def photos_below(folder: Path) -> list[Path]:
    """Lists the photos below a folder by path, but not the paintings, textures and generated pictures."""
    others = tuple(suffix for suffix in KINDS.values() if suffix)
    return [path for path in sorted(folder.rglob("*.jpg")) if not path.parent.name.endswith(others)]
