"""GPU hours of the paper's own evaluations, by counting floating point operations of the So400m model.

A multiplication with an addition is two operations. Nothing here has been timed on a GPU: the share of a GPU's peak
that is reached is an assumption, as on the page of the curriculum.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from atoken import AtokenConfig

PEAK = 989e12  # operations a second of an H100, dense bf16, by its data sheet
UTILIZATION = 0.4


@dataclass(frozen=True)
class Media:
    """
    Counts media of a data set for the encoder and, if they are reconstructed, the decoder.

    Attributes:
        what: for people, such as "50,000 images of 256 x 256".
        sequences: how many sequences of tokens, one for each image or temporal tile.
        tokens: of a sequence.
        decoded: whether they are reconstructed, too.
    """

    what: str
    sequences: int
    tokens: int
    decoded: bool = True

    @classmethod
    def images(cls, count: int, size: int, decoded: bool = True) -> "Media":
        """Counts images of size x size pixels."""
        side = math.ceil(size / 16)
        return cls(f"{count:,} images of {size} x {size}", count, side * side, decoded)

    @classmethod
    def videos(cls, what: str, frames: int, height: int, width: int) -> "Media":
        """Counts videos of so many frames in all, in tiles of 16 frames without a cache."""
        tokens = 4 * math.ceil(height / 16) * math.ceil(width / 16)
        return cls(what, math.ceil(frames / 16), tokens)


def transformer_operations(config: Any, tokens: int) -> float:
    """
    Counts operations of the blocks of an encoder or decoder for a sequence: projections, feed-forward and attention.

    Args:
        config: with hidden_size, intermediate_size and num_hidden_layers.
        tokens: of the sequence, which all attend to each other.
    """
    width, inner = config.hidden_size, config.intermediate_size
    products = 4 * width * width + 2 * width * inner
    return 2.0 * config.num_hidden_layers * tokens * (products + 2 * tokens * width)


def operations(media: Iterable[Media]) -> float:
    """Counts operations of encoding media with So400m, and of decoding those that are reconstructed."""
    config = AtokenConfig.from_preset("so400m")
    total = 0.0
    for one in media:
        total += one.sequences * transformer_operations(config.vision_config, one.tokens)
        if one.decoded:
            total += one.sequences * transformer_operations(config.decoder_config, one.tokens)
    return total


def hours_text(media: Iterable[Media]) -> str:
    """Says how many hours a GPU needs for media, and how they were counted."""
    media = list(media)
    hours = operations(media) / (PEAK * UTILIZATION) / 3600
    return (
        f"{_amount(hours)} of one H100 for AToken-So alone, counted: {'; '.join(one.what for one in media)}, by the "
        f"operations of its blocks at {UTILIZATION:.0%} of {PEAK / 1e12:.0f} TFLOP/s (an assumption); reading media "
        "and the networks of measures take more"
    )


def training_text(parameters: int, tokens: int, samples: int, what: str) -> str:
    """
    Says how many hours training takes at most.

    Args:
        parameters: of the generator, all of which are counted for every token.
        tokens: of a sample.
        samples: of all steps.
        what: is trained, for people.
    """
    hours = 6.0 * parameters * tokens * samples / (PEAK * UTILIZATION) / 3600
    return (
        f"about {_amount(hours)} of H100 to train {what}, counted: 6 x {parameters / 1e6:.0f} M parameters x "
        f"{tokens} tokens x {samples / 1e6:,.0f} M samples at {UTILIZATION:.0%} of {PEAK / 1e12:.0f} TFLOP/s (an "
        "assumption)"
    )


def _amount(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} seconds"
    if hours < 1:
        return f"{60 * hours:.1f} minutes"
    return f"{hours:,.1f} hours" if hours < 10 else f"{hours:,.0f} hours"
