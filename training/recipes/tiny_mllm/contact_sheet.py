"""A picture of questions with the model's answers, right and wrong ones as they come."""

from pathlib import Path
from typing import Any

import numpy as np

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.processing.atomic_files_atoken import atomic_file

from .held_out import MEASURES
from .measuring import Answered, ask_all

COLUMNS, SEED = 4, 11  # questions of each kind, none of which is measured by
RIGHT, WRONG = "#1a7f37", "#c62828"


def draw_answers(
    model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor, path: Path, columns: int = COLUMNS
) -> None:
    """Writes a PNG with the first held-out questions of each kind, their answers in green or red."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * columns, 1.75 * len(MEASURES)), layout="constrained")
    axes = figure.subplots(len(MEASURES), columns, squeeze=False)
    for row, measure in zip(axes, MEASURES, strict=True):
        for axis, each in zip(row, ask_all(model, processor, measure, columns, SEED), strict=True):
            axis.imshow(_strip(each.media))
            axis.set_axis_off()
            axis.set_title(_question(each), fontsize=7)
            axis.text(0.5, -0.04, _given(each), fontsize=8, ha="center", va="top", transform=axis.transAxes,
                      color=RIGHT if each.right else WRONG)  # fmt: skip
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")


def _strip(media: list[Any]) -> np.ndarray:
    """Joins pictures, or every second frame of a clip, side by side."""
    shown = [frame for medium in media for frame in (medium[::2] if medium.ndim == 4 else [medium])]
    white = np.full((shown[0].shape[0], 2, 3), 255, np.uint8)
    return np.concatenate([part for frame in shown for part in (frame, white)][:-1], axis=1)


def _question(each: Answered) -> str:
    first, *offered = each.question.text.removesuffix("\nAnswer with the letter.").split("\n")
    return "\n".join([first, "  ".join(offered)] if offered else [first])


def _given(each: Answered) -> str:
    return each.text if each.right else f"{each.text} ({each.question.answer})"
