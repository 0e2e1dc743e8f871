"""Plots how the losses of released checkpoints fell, from their records.

    python -m atoken.training.recipes.tiny.training_curves docs/training-curves.png checkpoints/atoken-tiny \\
        checkpoints/atoken-tiny-d
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ...loss_plots import Curves, plot_losses, read_records


def curves_of(record: dict[str, Any]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """
    Sorts the points of a record.

    Returns:
        Stage -> task -> steps and losses, equally long. A task has a point where its loss was logged.
    """
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for stage, points in record["curve"].items():
        tasks = found.setdefault(stage, {})
        for point in points:
            for name, value in point.items():
                if name != "step":
                    steps, losses = tasks.setdefault(name.replace("_", " "), ([], []))
                    steps.append(point["step"])
                    losses.append(value)
    return found


def plot(records: dict[str, dict[str, Any]], path: Path) -> None:
    """
    Plots each checkpoint's last stage: every task's loss, less its first, over steps.

    Args:
        records: name of a checkpoint -> its `training.json`.
        path: a PNG.
    """
    panels: dict[str, Curves] = {}
    for name, record in records.items():
        curves = curves_of(record)
        stage = max(curves, key=int)
        minutes = record.get("minutes", {}).get(stage)
        took = "" if minutes is None else f", {minutes:.0f} minutes"
        panels[f"{name}: stage {stage}{took}"] = {
            task: (steps, [loss - losses[0] for loss in losses])
            for task, (steps, losses) in sorted(curves[stage].items())
        }
    plot_losses(panels, "loss, less the first one logged", path)


def main(
    out: Annotated[Path, typer.Argument(help="The picture, a PNG.")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders with a training.json.")],
) -> None:
    """Plots the losses of checkpoints."""
    plot(read_records(checkpoints), out)


if __name__ == "__main__":
    typer.run(main)
