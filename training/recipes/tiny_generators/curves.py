"""Plots how the losses of the tiny generators fell, from their records.

    python -m atoken.training.recipes.tiny_generators.curves docs/generator-curves.png checkpoints/lightning-dit-tiny \\
        checkpoints/token-bridge-tiny
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atoken.processing.atomic_files_atoken import atomic_file

from .release import RECORD

WIDTH = 5.6  # of a plot, in inches
_LABELS = {"loss": "loss", "mse": "squared error", "cosine": "1 - cosine"}


def plot(records: dict[str, dict[str, Any]], path: Path) -> None:
    """
    Plots each generator's losses over steps.

    Args:
        records: name of a checkpoint -> its `training.json`.
        path: a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * len(records), 3.8), layout="constrained")
    for axis, (name, record) in zip(figure.subplots(1, len(records), squeeze=False)[0], records.items(), strict=True):
        points = record["curve"]
        for part, label in _LABELS.items():
            if part in points[0]:
                axis.plot([point["step"] for point in points], [point[part] for point in points], label=label)
        axis.set(title=f"{name}: {record['minutes']:.0f} minutes", xlabel="step", ylabel="mean over 20 steps")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def main(
    out: Annotated[Path, typer.Argument(help="The picture, a PNG.")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders with a training.json.")],
) -> None:
    """Plots the losses of generators."""
    read = {folder.name: json.loads((folder / RECORD).read_text(encoding="utf-8")) for folder in checkpoints}
    plot(read, out)


if __name__ == "__main__":
    typer.run(main)
