"""Plots of how losses fell, from the records beside released checkpoints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atoken.processing.atomic_files_atoken import atomic_file

_RECORD = "training.json"
_SIZE = 6.4, 4.2  # of a plot, in inches

# What is plotted -> steps and values, equally long.
Curves = dict[str, tuple[Sequence[float], Sequence[float]]]


def read_records(checkpoints: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Reads the records of checkpoints, by the names of their folders."""
    return {folder.name: json.loads((folder / _RECORD).read_text(encoding="utf-8")) for folder in checkpoints}


def plot_losses(panels: dict[str, Curves], value: str, path: Path) -> None:
    """
    Draws curves over steps, panels side by side.

    Args:
        panels: title -> its curves.
        value: name of what is drawn.
        path: a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0] * len(panels), _SIZE[1]), layout="constrained")
    for axis, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for label, (steps, values) in curves.items():
            axis.plot(steps, values, label=label)
        axis.set(title=title, xlabel="step", ylabel=value)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
