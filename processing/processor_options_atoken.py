"""Checks of the options that the image and video processors share with the rest of transformers."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassError

from .media_values_atoken import check_input_data_format, check_statistics
from .packing_atoken import check_return_tensors
from .patching_atoken import check_patch_size
from .resizing_atoken import check_resize_request


def check_call_options(schema: type, given: Mapping[str, Any]) -> None:
    """Validate the options given in one call; `ValueError` if one is unknown or has the wrong type.

    Args:
        schema: the TypedDict of the processor's `valid_kwargs`.
        given: what the caller passed.
    """
    unknown = sorted(set(given) - set(schema.__annotations__))
    if unknown:
        raise ValueError(
            f"options must be known, got {unknown[0]!r}. There are {', '.join(sorted(schema.__annotations__))}."
        )
    if "return_tensors" in given:
        check_return_tensors(given["return_tensors"])
    try:
        validate_typed_dict(schema, dict(given))
    except StrictDataclassError as error:
        raise ValueError(" ".join(str(error).split())) from error


def check_resolved_options(
    do_center_crop: bool | None = None,
    crop_size: Any = None,
    do_pad: bool | None = None,
    pad_size: Any = None,
    do_convert_rgb: bool | None = None,
    do_rescale: bool | None = None,
    rescale_factor: float | None = None,
    do_normalize: bool | None = None,
    image_mean: Any = None,
    image_std: Any = None,
    do_resize: bool | None = None,
    size: Mapping[str, int] | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    resample: Any = None,
    patch_size: Any = None,
    input_data_format: Any = None,
    data_format: Any = None,
    color_management: bool | None = True,
    **kwargs: Any,
) -> None:
    """Validate the options once defaults have been filled in; `ValueError` if tokens cannot be made that way."""
    rows_columns = check_patch_size(patch_size)[1:]
    if do_center_crop or crop_size is not None:
        raise ValueError(
            "do_center_crop must be off, without a crop_size, since nothing is ever cropped, got "
            f"{do_center_crop!r} with "
            f"crop_size={crop_size!r}. Crop the media before passing them, or resize with size=."
        )
    if do_pad is False or pad_size is not None:
        raise ValueError(
            "do_pad must be on, without a pad_size, since media are always padded to whole patches and cut back to "
            f"their true size by post_process, got {do_pad!r} with pad_size={pad_size!r}."
        )
    if do_convert_rgb is False:
        raise ValueError("do_convert_rgb must be True, since a token always holds RGB, got False.")
    if data_format is not None:
        raise ValueError(f"data_format must be None, since the output is tokens, not images, got {data_format!r}.")
    if color_management is None:
        raise ValueError("color_management must be True or False, got None.")
    if do_rescale and not isinstance(rescale_factor, (int, float)):
        raise ValueError(f"rescale_factor must be a number when do_rescale is on, got {rescale_factor!r}.")
    if do_normalize:
        check_statistics(image_mean, image_std)
    check_input_data_format(input_data_format)
    resize = check_resize_request(do_resize, size, min_pixels, max_pixels, rows_columns)
    if any(resize) and resample is None:
        raise ValueError("resample must be a resampling filter when a resize is asked for, got None.")
