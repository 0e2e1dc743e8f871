"""A picture of questions with the model's answers, right and wrong ones as they come."""

from pathlib import Path
from typing import Any

import numpy as np

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.processing.atomic_files_atoken import atomic_file

from .held_out import MEASURES
from .measuring import Answered, ask_all

COLUMNS = 3  # questions of each kind
SEED = 11  # of the first kind; none of these questions is measured by
RIGHT, WRONG = "#1a7f37", "#c62828"


def draw_answers(
    model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor, path: Path, columns: int = COLUMNS
) -> None:
    """Writes a PNG with the first held-out questions of each kind, their answers in green or red."""
    from matplotlib.figure import Figure

    rows = len(MEASURES) // 2
    figure = Figure(figsize=(2.5 * 2 * columns, 1.45 * rows))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.045, top=0.97, wspace=0.08, hspace=0.75)
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    for number, measure in enumerate(MEASURES):
        half, row = divmod(number, rows)
        answered = ask_all(model, processor, measure, columns, SEED + number)
        for axis, each in zip(axes[row, half * columns : (half + 1) * columns], answered, strict=True):
            axis.imshow(_strip(each.media))
            axis.set_axis_off()
            axis.set_title(_question(each), fontsize=7, pad=3)
            color = RIGHT if each.right else WRONG
            axis.text(
                0.5, -0.06, _given(each), fontsize=8, ha="center", va="top", transform=axis.transAxes, color=color
            )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")


def _strip(media: list[Any]) -> np.ndarray:
    """Joins pictures, or every second frame of a clip, side by side."""
    shown = [frame for medium in media for frame in (medium[::2] if medium.ndim == 4 else [medium])]
    white = np.full((shown[0].shape[0], 2, 3), 255, np.uint8)
    return np.concatenate([part for frame in shown for part in (frame, white)][:-1], axis=1)


def _question(each: Answered) -> str:
    first, *offered = each.question.text.removesuffix("\nAnswer with the letter.").split("\n")
    return "\n".join([first, " ".join(offered)] if offered else [first])


def _given(each: Answered) -> str:
    return each.text if each.right else f"{each.text}\n(right: {each.question.answer})"
