"""The dtypes that models can be loaded in, and latents be stored in."""

import torch

DTYPES = ("float32", "bfloat16", "float16")


def checked_dtype(value: str, name: str = "dtype") -> torch.dtype:
    """
    Gives the dtype of a name.

    Args:
        value: the dtype's name.
        name: of the argument, for the error.

    Raises:
        ValueError: `value` is none of `DTYPES`.
    """
    if value not in DTYPES:
        raise ValueError(f"{name} must be one of {', '.join(DTYPES)}, got {value!r}")
    return getattr(torch, value)
