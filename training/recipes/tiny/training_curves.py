"""Plots how the losses of released checkpoints fell, from their records.

    python -m atoken.training.recipes.tiny.training_curves docs/training-curves.png checkpoints/atoken-tiny \\
        checkpoints/atoken-tiny-d
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atoken.processing.atomic_files_atoken import atomic_file

WIDTH = 6.4  # of a plot, in inches


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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * len(records), 4.2), layout="constrained")
    for axis, (name, record) in zip(figure.subplots(1, len(records), squeeze=False)[0], records.items(), strict=True):
        curves = curves_of(record)
        stage = max(curves, key=int)
        for task, (steps, losses) in sorted(curves[stage].items()):
            axis.plot(steps, [loss - losses[0] for loss in losses], label=task)
        minutes = record.get("minutes", {}).get(stage)
        took = "" if minutes is None else f", {minutes:.0f} minutes"
        axis.set(title=f"{name}: stage {stage}{took}", xlabel="step", ylabel="loss, less the first one logged")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def main(
    out: Annotated[Path, typer.Argument(help="The picture, a PNG.")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders with a training.json.")],
) -> None:
    """Plots the losses of checkpoints."""
    read = {folder.name: json.loads((folder / "training.json").read_text(encoding="utf-8")) for folder in checkpoints}
    plot(read, out)


if __name__ == "__main__":
    typer.run(main)
