"""JPEG, WebP and AVIF at a given number of bits per pixel, as a user would store images instead of tokens."""

import io
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image, features

from ..interface import Encoded, MediaTokenizer
from .rate_search import largest_within

# codec -> (Pillow's name, lowest and highest quality, other options of its encoder)
CODECS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "jpeg": ("JPEG", 1, 95, {"optimize": True, "subsampling": "4:2:0"}),
    "webp": ("WEBP", 0, 100, {"method": 4}),
    "avif": ("AVIF", 0, 100, {"speed": 6}),
}


class ImageCodec(MediaTokenizer):
    """
    Stores each image as a whole file of the highest quality that does not exceed a rate; headers count.

    Args:
        codec: one of `CODECS`.
        bits_per_pixel: the rate. An image that even the lowest quality does not fit is stored at that, and its true
            rate is what is reported.

    Raises:
        ValueError: no such codec, or no such rate.
        ImportError: this Pillow was built without the codec.
    """

    kinds = frozenset({"image"})

    def __init__(self, codec: str, bits_per_pixel: float):
        if codec not in CODECS:
            raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}")
        if not bits_per_pixel > 0:
            raise ValueError(f"bits_per_pixel must be a positive number, got {bits_per_pixel!r}")
        if codec != "jpeg" and not features.check(codec):
            raise ImportError(f'this Pillow cannot write {codec}: pip install --upgrade "pillow>=11.3"')
        self.codec, self.bits_per_pixel = codec, bits_per_pixel
        self.name = f"{codec} at {bits_per_pixel:g} bits/pixel"

    def encode(self, media: torch.Tensor) -> Encoded:
        if len(media) != 1:
            raise ValueError(f"media must be one frame for an image codec, got {len(media)}")
        image = Image.fromarray(media[0].permute(1, 2, 0).numpy())
        form, low, high, options = CODECS[self.codec]

        def write(quality: int) -> bytes:
            target = io.BytesIO()
            image.save(target, form, quality=quality, **options)
            return target.getvalue()

        data = largest_within(write, low, high, self.bits_per_pixel * image.width * image.height / 8)
        return Encoded(data, 8 * len(data), (len(data),))

    def decode(self, encoded: Encoded) -> torch.Tensor:
        with Image.open(io.BytesIO(encoded.payload)) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].contiguous()

    def describe(self) -> dict[str, Any]:
        options = CODECS[self.codec][3]
        return {
            "class": type(self).__name__,
            "codec": self.codec,
            "bits_per_pixel": self.bits_per_pixel,
            "rule": "highest quality whose file is within the rate",
            "pillow": PIL.__version__,
            **options,
        }
