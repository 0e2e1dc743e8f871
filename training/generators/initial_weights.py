"""Trained weights that a training begins with."""

from pathlib import Path

from diffusers.models.modeling_utils import ModelMixin


def load_start(model: ModelMixin, folder: Path) -> None:
    """
    Reads weights into a model of the same sizes; statistics of latents stay the model's own.

    Raises:
        ValueError: the folder holds another kind of model, or one of other sizes.
    """
    try:
        start = type(model).from_pretrained(folder)
        model.load_state_dict(start.state_dict())
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"init_from must be the folder of a {type(model).__name__} of the stage's sizes, got {folder}: {error}"
        ) from error
