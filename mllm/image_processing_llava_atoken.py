"""Images of any size to patches, each image at about its own size (the rule of Oryx)."""

import os
from typing import Any

import torch
from PIL import Image
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import ImagesKwargs, Unpack

from .patching_llava_atoken import check_multiple, check_values, packed_patches, target_size
from .remote_code_atoken import auto_class_of, bind_to_package


class AtokenLlavaImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    patch_size (`int`, *optional*, defaults to 16):
        Rows and columns of a patch.
    size_multiple (`int`, *optional*, defaults to 32):
        What both sides are rounded down to multiples of.
    """

    patch_size: int | None
    size_multiple: int | None


class AtokenLlavaImageProcessor(TorchvisionBackend):
    """
    Turns images into patches of one frame.

    Images keep their size up to rounding the sides down to multiples of `size_multiple`, unless their area is outside
    of `size["min_pixels"]` and `size["max_pixels"]`. Values become [-1, 1]; transparency is composited on white.
    """

    _auto_class = auto_class_of(__name__, "AutoImageProcessor")
    valid_kwargs = AtokenLlavaImageProcessorKwargs
    model_input_names = ["pixel_values", "image_grid_thw"]
    do_resize = True
    size = {"min_pixels": 0, "max_pixels": 1536**2}
    resample = PILImageResampling.BICUBIC
    do_convert_rgb = True
    do_rescale = True
    do_normalize = True
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    patch_size = 16
    size_multiple = 32

    def __init__(self, **kwargs: Unpack[AtokenLlavaImageProcessorKwargs]):
        super().__init__(**kwargs)
        check_multiple(self.patch_size, self.size_multiple)

    def preprocess(self, images: Any, **kwargs: Unpack[AtokenLlavaImageProcessorKwargs]) -> BatchFeature:
        """
        Makes patches of images.

        Args:
            images: one image or a list, of PIL images, arrays or tensors (uint8, or floats in [0, 1]), paths or
                addresses.
            kwargs: see `AtokenLlavaImageProcessorKwargs`; an option left out takes the processor's own value.

        Returns:
            `BatchFeature` with `pixel_values` (N, patch_size ** 2 * 3), the patches of all images row by row, in the
            order row, column, channel, and `image_grid_thw` (n, 3): 1, patch rows, patch columns of each.

        Raises:
            ValueError: naming what does not fit.
        """
        return super().preprocess(self.fetch_images(images), **kwargs)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Reads paths and addresses, alone or in lists; leaves everything else as it is."""
        if isinstance(image_url_or_urls, os.PathLike):
            image_url_or_urls = os.fspath(image_url_or_urls)
        return super().fetch_images(image_url_or_urls)

    def process_image(self, image: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Turns one image into (3, H, W) float32, on the scale of 0 to 255 where it is to be rescaled."""
        if isinstance(image, Image.Image) and (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        pixels = super().process_image(image, *args, **kwargs)
        return check_values(pixels, "images", kwargs.get("do_rescale", self.do_rescale))

    def get_number_of_image_patches(self, height: int, width: int, images_kwargs: dict | None = None) -> int:
        """Counts the patches that an image of a size gets, without it."""
        rows, columns = self.patch_grid(height, width, **(images_kwargs or {}))
        return rows * columns

    def patch_grid(self, height: int, width: int, **options: Any) -> tuple[int, int]:
        """Gives patch rows and columns of an image of a size, with options of a call."""
        return patch_grid(self, height, width, options)

    def _preprocess(
        self, images: list[torch.Tensor], return_tensors: str | None = None, **options: Any
    ) -> BatchFeature:
        patches, grids = packed_patches(self, [image[None] for image in images], **options)
        return BatchFeature({"pixel_values": patches, "image_grid_thw": grids}, tensor_type=return_tensors)


def patch_grid(processor: Any, height: int, width: int, options: dict[str, Any]) -> tuple[int, int]:
    """Gives patch rows and columns of a medium of a size under a processor's options, those of a call going before."""
    names = ("do_resize", "size", "size_multiple", "patch_size")
    do_resize, size, multiple, patch = (
        options[name] if options.get(name) is not None else getattr(processor, name) for name in names
    )
    height, width = target_size(height, width, do_resize, size, multiple)
    return height // patch, width // patch


bind_to_package(__name__)

__all__ = ["AtokenLlavaImageProcessor"]
