"""Plots how many held-out questions were answered right while the model learned, from its record."""

from pathlib import Path
from typing import Any

from atoken.processing.atomic_files_atoken import atomic_file

from .held_out import MEASURES


def plot(record: dict[str, Any], path: Path) -> None:
    """
    Plots shares of right answers over minutes, images beside videos, with a line where the second stage begins.

    Args:
        record: of the model.
        path: a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    for axis, medium in zip(figure.subplots(1, 2, sharey=True), ("image", "video"), strict=True):
        begin = 0.0
        points: dict[str, list[tuple[float, float]]] = {}
        for stage in record["stages"].values():
            axis.axvline(begin, color="gray", linewidth=0.8)
            for line in stage["curve"]:
                for measure in (each for each in MEASURES if each.medium == medium and each.name in line):
                    points.setdefault(measure.name, []).append((begin + line["minutes"], 100 * line[measure.name]))
            begin += stage["minutes"]
        for name, line in points.items():
            axis.plot(*zip(*line, strict=True), label=name.partition(", ")[2] or name)
        axis.set(
            title=f"{medium}s", xlabel="minutes of training", ylabel="% right, 48 held-out questions", ylim=(0, 101)
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
