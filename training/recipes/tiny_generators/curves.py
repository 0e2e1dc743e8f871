"""Plots how the losses of the tiny generators fell, from their records.

    python -m atoken.training.recipes.tiny_generators.curves docs/generator-curves.png checkpoints/lightning-dit-tiny \\
        checkpoints/token-bridge-tiny
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ...loss_plots import Curves, plot_losses, read_records

_LABELS = {"loss": "loss", "mse": "squared error", "cosine": "1 - cosine"}


def plot(records: dict[str, dict[str, Any]], path: Path) -> None:
    """
    Plots each generator's losses over steps.

    Args:
        records: name of a checkpoint -> its `training.json`.
        path: a PNG.
    """
    panels: dict[str, Curves] = {}
    for name, record in records.items():
        points = record["curve"]
        panels[f"{name}: {record['minutes']:.0f} minutes"] = {
            label: ([point["step"] for point in points], [point[part] for point in points])
            for part, label in _LABELS.items()
            if part in points[0]
        }
    plot_losses(panels, "mean over 20 steps", path)


def main(
    out: Annotated[Path, typer.Argument(help="The picture, a PNG.")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders with a training.json.")],
) -> None:
    """Plots the losses of generators."""
    plot(read_records(checkpoints), out)


if __name__ == "__main__":
    typer.run(main)
