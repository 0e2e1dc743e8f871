"""Images of any size and mode to packed tokens, and back."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ImageInput, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs, Unpack

from .media_reading_atoken import check_file, download_image, open_image
from .media_values_atoken import (
    as_media_tensor,
    channels_first,
    channels_to_rgb,
    normalize_values,
    on_device,
    to_unit_values,
    value_range,
)
from .packing_atoken import (
    MODEL_INPUT_NAMES,
    check_output_type,
    check_return_tensors,
    media_to_output,
    pack_media,
    unpack_media,
    with_masks,
)
from .pil_decoding_atoken import check_still_image, pil_to_rgb
from .processor_options_atoken import check_call_options, check_resolved_options
from .remote_code_atoken import auto_class_of, bind_to_package
from .resizing_atoken import check_resize_request, resized_size

_EXPECTED = "a PIL image, a numpy array, a torch tensor, a path, or a list of these"


class AtokenImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    patch_size (`list[int]`, *optional*, defaults to `[4, 16, 16]`):
        Frames, rows and columns of one patch.
    min_pixels (`int`, *optional*):
        Images with fewer pixels are enlarged to at least this many, keeping their aspect ratio.
    max_pixels (`int`, *optional*):
        Images with more pixels are reduced to at most this many, keeping their aspect ratio.
    color_management (`bool`, *optional*, defaults to `True`):
        Whether to bring files and PIL images into sRGB where they say what their colors are (ICC profiles, PNG's gAMA,
        cHRM and cICP, EXIF). False keeps the numbers as they are stored. Arrays are never changed.
    """

    patch_size: list[int] | tuple[int, ...] | None
    min_pixels: int | None
    max_pixels: int | None
    color_management: bool | None


class AtokenImageProcessor(TorchvisionBackend):
    """
    Turns images into tokens at their native resolution.

    Images are not resized unless `size`, `min_pixels` or `max_pixels` is given, never cropped, and padded at the bottom
    and right to whole patches by repeating their edge; `media_sizes` keeps the true size for the way back.

    Values: uint8, uint16 and bool are divided by their white; floats must lie in [0, 1]. They are then normalized to
    [-1, 1]. With `do_rescale=False, do_normalize=False` values are used as they are and must lie in [-1, 1].
    """

    _auto_class = auto_class_of(__name__, "AutoImageProcessor")
    valid_kwargs = AtokenImageProcessorKwargs
    resample = PILImageResampling.BICUBIC
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_convert_rgb = True
    do_rescale = True
    do_normalize = True
    patch_size = [4, 16, 16]
    color_management = True
    model_input_names = list(MODEL_INPUT_NAMES)

    def __init__(self, **kwargs: Unpack[AtokenImageProcessorKwargs]):
        super().__init__(**kwargs)

    def preprocess(self, images: ImageInput, **kwargs: Unpack[AtokenImageProcessorKwargs]) -> BatchFeature:
        """Make tokens of images.

        Args:
            images: one image or a list. An image is a PIL image of any mode, an array or tensor (H, W), (C, H, W) or
                (H, W, C) with 1, 3 or 4 channels, a local path or an http(s) address. A four-dimensional array is a
                batch. Transparency is composited on white.
            kwargs: see `AtokenImageProcessorKwargs`; an option left out takes the processor's own value.

        Returns:
            `BatchFeature` with `pixel_values` (N, 3072) float32, `coords` (N, 4) int64 [t, x, y, z], `cu_seqlens`
            (B + 1,) int32, `media_sizes` (B, 3) int64 = (1, H, W), the size after a requested resize, `pixel_mask`
            (N, 1024) bool, False for padding, and `is_video` (B,) bool, all False.

        Raises:
            FileNotFoundError: a path does not exist.
            ValueError: anything else about `images` or an option; the message names it and says what is expected.
        """
        check_call_options(self.valid_kwargs, kwargs)
        return super().preprocess(images, **kwargs)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Replace paths and addresses, alone or in a list, by RGB tensors; leave everything else as it is."""
        if isinstance(image_url_or_urls, (list, tuple)):
            return [self.fetch_images(image) for image in image_url_or_urls]
        return _fetch(image_url_or_urls, "images", self.color_management)

    def process_image(self, image: ImageInput, name: str = "images", **kwargs: Any) -> torch.Tensor:
        """Turn one image into (3, H, W) float32 in the range its values are known to lie in.

        Args:
            image: a PIL image, an array, a tensor, a local path or an http(s) address.
            name: what to call it in an error message.
            kwargs: `input_data_format`, of arrays and tensors alone, `do_rescale`, `rescale_factor`, `do_normalize`,
                `color_management` and `device`, by default the processor's own.
        """
        names = ("input_data_format", "do_rescale", "rescale_factor", "do_normalize", "color_management", "device")
        options = {key: kwargs[key] if key in kwargs else getattr(self, key, None) for key in names}
        if isinstance(image, Image.Image):
            pixels = pil_to_rgb(image, name, options["color_management"])
        elif isinstance(image, (str, os.PathLike)):
            pixels = _fetch(image, name, options["color_management"])
        else:
            pixels = image_array(image, name, options["input_data_format"])
        pixels = on_device(pixels, options["device"])
        rules = options["do_rescale"], options["rescale_factor"], options["do_normalize"]
        return channels_to_rgb(to_unit_values(pixels, name, *rules), name, signed=value_range(*rules) == (-1, 1))

    def post_process(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor,
        cu_seqlens: torch.Tensor,
        media_sizes: torch.Tensor,
        output_type: str = "pt",
        is_video: torch.Tensor | None = None,
        pixel_mask: torch.Tensor | None = None,
    ) -> list[torch.Tensor] | list[np.ndarray] | list[Image.Image]:
        """Turn tokens, such as a decoder returns, back into images of exactly their true size.

        Args:
            pixel_values: (N, 3072), any floating point dtype.
            coords: (N, 4) integer.
            cu_seqlens: (B + 1,) integer.
            media_sizes: (B, 3) integer, all with one frame.
            output_type: "pt", "np" or "pil".
            is_video, pixel_mask: have no effect; they are taken so that all that a call gives can be passed on.

        Returns:
            One image per sample. "pt": float32 (3, H, W) in [0, 1], clamped; "np": uint8 (H, W, 3); "pil": PIL images.

        Raises:
            ValueError: the arguments do not fit together, or a sample is a video.
        """
        check_output_type(output_type)
        media = unpack_media(pixel_values, coords, cu_seqlens, media_sizes, self.patch_size)
        for index, sample in enumerate(media):
            if len(sample) != 1:
                raise ValueError(
                    f"media_sizes must have 1 frame for an image, got {len(sample)} frames for sample {index}. Use the "
                    "post_process of AtokenVideoProcessor or AtokenProcessor."
                )
        return [media_to_output(sample, output_type, *output_statistics(self))[0] for sample in media]

    def _prepare_images_structure(self, images: Any, expected_ndims: int = 3) -> list[Any]:
        return list(images) if isinstance(images, (list, tuple)) else _single_or_batch(images)

    def _prepare_image_like_inputs(self, images: Any, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        is_list = isinstance(images, (list, tuple))
        images = self._prepare_images_structure(images)
        names = [f"images[{index}]" if is_list or len(images) > 1 else "images" for index in range(len(images))]
        # The whole list is looked at before the first image is decoded.
        check_image_list(images, names, kwargs.get("input_data_format"))
        return [self.process_image(image, name=name, **kwargs) for image, name in zip(images, names, strict=True)]

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:
        check_resolved_options(**kwargs)

    def _preprocess(
        self,
        images: list[torch.Tensor],
        do_resize: bool | None,
        size: SizeDict | None,
        resample: Any,
        do_rescale: bool | None,
        rescale_factor: float,
        do_normalize: bool | None,
        image_mean: float | Sequence[float] | None,
        image_std: float | Sequence[float] | None,
        patch_size: Sequence[int],
        min_pixels: int | None,
        max_pixels: int | None,
        return_tensors: str | None,
        **kwargs: Any,
    ) -> BatchFeature:
        request = check_resize_request(do_resize, size, min_pixels, max_pixels, patch_size[1:])
        limits = value_range(do_rescale, rescale_factor, do_normalize)
        media = []
        for image in images:
            image = resize_media(self, image[None], request, resample, limits, patch_size)
            media.append(normalize_values(image, image_mean, image_std) if do_normalize else image)
        packed = with_masks(pack_media(media, patch_size), False, patch_size)
        return BatchFeature(packed, tensor_type=check_return_tensors(return_tensors))


def check_image_list(images: Sequence[Any], names: Sequence[str], input_data_format: str | None = None) -> None:
    """Look at every image, without decoding one, and raise the first `ValueError` or `FileNotFoundError`."""
    if not images:
        raise ValueError(f"images must be {_EXPECTED}, got an empty list.")
    for image, name in zip(images, names, strict=True):
        if isinstance(image, Image.Image):
            check_still_image(image, name)
        elif isinstance(image, (np.ndarray, torch.Tensor)):
            image_array(image, name, input_data_format)
        elif not isinstance(image, (str, os.PathLike)):
            nested = " Nested lists are not taken: pass a flat one." if isinstance(image, (list, tuple)) else ""
            raise ValueError(f"{name} must be {_EXPECTED}.{nested}, got {type(image).__name__}")
        elif not _is_address(image):
            check_file(image, name)


def resize_media(
    backend: TorchvisionBackend,
    media: torch.Tensor,
    request: tuple[dict[str, int], int | None, int | None],
    resample: Any,
    limits: tuple[int, int] | None,
    patch_size: Sequence[int],
) -> torch.Tensor:
    """Resize (T, 3, H, W) as `check_resize_request` understood it, antialiased; without a request do nothing."""
    height, width = media.shape[-2:]
    target = resized_size(height, width, *request, patch_size[1:]) if any(request) else (height, width)
    if target == (height, width):
        return media
    media = backend.resize(media, SizeDict(height=target[0], width=target[1]), resample=resample, antialias=True)
    # Bicubic interpolation overshoots at edges; the values it started from were in range.
    return media if limits is None else media.clamp(*limits)


def output_statistics(processor: TorchvisionBackend) -> tuple[Any, Any]:
    """Gives the mean and standard deviation that lead from a processor's tokens back to [0, 1]."""
    if processor.do_rescale and not processor.do_normalize:
        return 0.0, 1.0
    return processor.image_mean, processor.image_std


def _single_or_batch(images: Any) -> list[Any]:
    """A four-dimensional array is a batch, anything else one image."""
    is_batch = isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim == 4
    return list(images) if is_batch else [images]


def _is_address(image: Any) -> bool:
    return isinstance(image, str) and image.startswith(("http://", "https://"))


def _fetch(image: Any, name: str, color_management: bool) -> Any:
    if _is_address(image):
        return download_image(image, name, color_management=color_management)
    return open_image(image, name, color_management) if isinstance(image, (str, os.PathLike)) else image


def image_array(image: Any, name: str, input_data_format: str | None) -> torch.Tensor:
    """Turns an array (H, W), (C, H, W) or (H, W, C) into (C, H, W)."""
    pixels = as_media_tensor(image, name)
    if pixels.ndim == 2:
        return pixels[None]
    if pixels.ndim != 3:
        raise ValueError(
            f"{name} must be (H, W), (C, H, W) or (H, W, C), got shape {tuple(pixels.shape)}. Pass videos as videos=."
        )
    return channels_first(pixels, name, input_data_format)


bind_to_package(__name__)
