"""What both generators and their pipelines ask of arguments that they share."""

import torch

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


def check_names(id2label: dict | None, num_classes: int) -> None:
    """
    Checks that names are those of classes that a model has; it may have fewer names than classes.

    Raises:
        ValueError: a key is no number of a class.
    """
    for key in id2label or {}:
        if not str(key).isdecimal() or int(key) >= num_classes:
            raise ValueError(f"id2label must have numbers from 0 to {num_classes - 1} as keys, got {key!r}")


def check_range(name: str, values: torch.Tensor, lowest: int, highest: int) -> None:
    """
    Checks values on the CPU. On other devices that would wait for all work before; there the layers' own assertions
    end the process.

    Raises:
        ValueError: one is below `lowest` or above `highest`, or not a number.
    """
    if values.device.type != "cpu" or not values.numel() or torch.compiler.is_compiling():
        return
    low, high = (each.item() for each in values.aminmax())
    if not (lowest <= low and high <= highest):
        raise ValueError(f"{name} must be from {lowest} to {highest}, got {low} to {high}")


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
