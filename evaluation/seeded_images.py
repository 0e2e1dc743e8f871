"""Images of a generator, each of which depends on a seed and its own number alone."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from atoken.generation import LightningDiTPipeline, TokenBridgePipeline
from atoken.generation.class_names_atoken import ClassLabels, class_numbers

# Arguments of a pipeline that are not settings: what an image is of, the form in which it comes, and who watches.
_NO_SETTINGS = (
    "self",
    "class_labels",
    "generator",
    "latents",
    "order",
    "output_type",
    "callback_on_step_end_tensor_inputs",
)


def image_generator(seed: int, index: int) -> torch.Generator:
    """
    Gives the random numbers of image `index`; on the CPU, so that they are the same on every device.

    Its state is one number of 32 bits, as generators on the CPU look at no more: the first of numpy's `SeedSequence` of
    seed and index.
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))


class SeededImages:
    """
    Makes images whose classes take turns: image i is of class i modulo the number of classes.

    So every part of the images has the classes evenly, which the splits of ADM's inception score need, and any process
    can make any part.

    Args:
        pipeline: of `atoken.generation`.
        classes: numbers or names; all classes in their order when there are none.
        seed: at least 0.
        settings: arguments of the pipeline, such as `num_inference_steps` and `guidance_scale`; the others keep the
            pipeline's defaults.

    Attributes:
        classes: their numbers.
        settings: all settings, with those that were not given.

    Raises:
        ValueError: an argument does not fit.
    """

    def __init__(
        self,
        pipeline: LightningDiTPipeline | TokenBridgePipeline,
        classes: ClassLabels = (),
        seed: int = 0,
        settings: dict[str, Any] | None = None,
    ):
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
        config = pipeline.transformer.config
        every = isinstance(classes, (list, tuple)) and not classes
        self.classes = class_numbers(
            range(config.num_classes) if every else classes, config.num_classes, config.id2label
        )
        self.pipeline, self.seed = pipeline, seed
        defaults = setting_defaults(pipeline)
        unknown = [name for name in settings or {} if name not in defaults]
        if unknown:
            known = ", ".join(defaults)
            raise ValueError(f"settings of {type(pipeline).__name__} must be among {known}, got {', '.join(unknown)}")
        self.settings = {**defaults, **(settings or {})}
        pipeline.check_inputs(self.classes, **self.settings)

    def label(self, index: int) -> int:
        """Gives the number of the class of image `index`."""
        return self.classes[index % len(self.classes)]

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """
        Makes images, all in one batch: (B, 3, H, W) uint8 on the CPU.

        Raises:
            ValueError: the model's values are not finite.
        """
        made = self.pipeline(
            [self.label(index) for index in indices],
            generator=[image_generator(self.seed, index) for index in indices],
            output_type="pt",
            **self.settings,
        ).images
        if not made.isfinite().all():
            raise ValueError(
                "images must be finite, got NaN or infinite values of the pipeline; take float32, or other weights"
            )
        return (made * 255).round().to(torch.uint8).cpu()


def setting_defaults(pipeline: LightningDiTPipeline | TokenBridgePipeline) -> dict[str, Any]:
    """Gives the settings of a pipeline by name, with their defaults."""
    arguments = inspect.signature(type(pipeline).__call__).parameters
    checked = inspect.signature(type(pipeline).check_inputs).parameters
    return {name: arguments[name].default for name in checked if name not in _NO_SETTINGS}
