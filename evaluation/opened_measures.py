"""All measures of an evaluation, opened together so that what is missing is known before any work."""

from dataclasses import dataclass

from .caption_measures import CaptionMeasures
from .configuration import EvaluationConfig
from .reconstruction import Measures


@dataclass(frozen=True)
class OpenedMeasures:
    """
    Holds the measures with their networks.

    Attributes:
        compared: of reconstructions, and of generated images against others.
        captions: of what is made of captions.
    """

    compared: Measures
    captions: CaptionMeasures


def open_measures(config: EvaluationConfig) -> OpenedMeasures:
    """
    Opens the measures that there is anything to measure by.

    Raises:
        FileNotFoundError: a network is missing.
    """
    tasks = {entry.task for entry in config.sets}
    compared = Measures(
        config.comparing_measures if config.tokenizers else (),
        config.weights,
        config.device,
        generation=bool(config.generators) and "generation" in tasks,
    )
    of_captions = config.caption_measures if "captions" in tasks else ()
    return OpenedMeasures(compared, CaptionMeasures(of_captions, config.weights, config.device))
