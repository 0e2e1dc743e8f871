"""What both pipelines ask of arguments that they share."""

import torch

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


def check_generators(generator: torch.Generator | list[torch.Generator] | None, images: int) -> None:
    """
    Checks that there is one source of random numbers, or one for each image.

    Raises:
        ValueError: the list has another length, or something else in it.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return
    given = len(generator) if isinstance(generator, list) else repr(generator)
    if given != images or not all(isinstance(each, torch.Generator) for each in generator):
        raise ValueError(f"generator must be one, or a list of {images}, one for each image, got {given}")


def check_output_type(output_type: str) -> None:
    """
    Checks the name of a form of images.

    Raises:
        ValueError: there is no such form.
    """
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f'output_type must be "pil", "np", "pt" or "latent", got {output_type!r}')
