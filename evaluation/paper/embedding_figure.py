"""Figure 8: t-SNE of drawn pictures by shape, by layer, and by stage where embeddings of the stages are at hand."""

import json
from pathlib import Path
from typing import Any

import torch

from atoken.pages.paper import Shown, TitledTable
from atoken.pages.report import Table

from ..projection import NEIGHBORS, neighbor_accuracy, scatter_plot, tsne
from ..results import Result
from .counting import Media, hours_text
from .parts import MissingInput, Part
from .protocol import protocol_lines
from .reconstruction_config import CONTINUOUS, DISCRETE
from .section import Real
from .workspace import Workspace

STAGES = "docs/curriculum/stage-embeddings.json"
REMEDY = f"`python -m atoken.training.recipes.tiny.stage_embeddings RUN {STAGES}` makes it of a run of the curriculum"
SIZE = 128
HEADING = ["embeddings", "nearest neighbors % ↑", "chance %", "pictures"]


def make(workspace: Workspace) -> Part:
    """Makes Figure 8."""
    drawn = {"set": "miniature-classification", "task": "projection", "kind": "image", "attribute": "shape"}
    layers = {
        "dense features": (CONTINUOUS, "features"),
        "48 latents": (CONTINUOUS, "latents"),
        "quantized latents": (DISCRETE, "codes"),
    }
    embedders = {
        f"{layer} of {model}": {"adapter": "atoken-features", "model": workspace.checkpoint(model), "layer": name}
        for layer, (model, name) in layers.items()
    }
    sets = {"shapes": {**drawn, "count": workspace.counts.scenes, "size": SIZE}}
    results = workspace.evaluate("projection", sets=sets, embedders=embedders)
    tables = [TitledTable("Of the released checkpoints", _table(results))]
    shown = [Shown(scatter_plot(results), "", "t-SNE of pictures, colored by shape", "Released checkpoints")]
    protocol, missing = protocol_lines(results), []
    path = workspace.root / STAGES
    if path.is_file():
        by_stage = stage_results(path)
        tables.append(TitledTable(f"By stage, from {STAGES}", _table(by_stage)))
        shown.append(Shown(scatter_plot(by_stage), "", "t-SNE of pictures at each stage", "Stage by stage"))
        protocol.append(f"stages: embeddings and labels of {STAGES}")
    else:
        missing.append(f"{STAGES} is not in this clone, so panels by stage are missing; {REMEDY}")
    measured = (
        f"{workspace.counts.scenes} drawn pictures of {SIZE} x {SIZE} of 8 shapes with held-out pairs of color and "
        "shape, means over tokens, by t-SNE from PCA with one seed. In the space itself, nearest neighbors % is how "
        f"often most of the {NEIGHBORS} nearest (cosine) have the same shape."
    )
    return Part(measured, tables, shown, protocol, missing)


def stage_results(path: Path) -> list[Result]:
    """
    Reads embeddings by stage, and projects them.

    Args:
        path: JSON, {"stage-N" or "stage-N latents": {"labels": [integers], "embeddings": [[numbers], ...]}}.

    Raises:
        MissingInput: the file is something else.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {
            name: (torch.tensor(each["labels"]), torch.tensor(each["embeddings"], dtype=torch.float32))
            for name, each in sorted(values.items())
        }
        if not all(len(labels) == len(rows) > 3 and rows.ndim == 2 for labels, rows in found.values()):
            raise ValueError("labels and embeddings must be as many, and more than three")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingInput(f"{path} must hold labels and embeddings by stage, which it does not: {error}") from error
    results = []
    for name, (labels, rows) in found.items():
        numbers = {
            "count": len(labels),
            "neighbor_accuracy": neighbor_accuracy(rows, labels),
            "chance": 1 / len(labels.unique()),
            "tsne": {"points": tsne(rows).tolist(), "labels": labels.tolist()},
        }
        results.append(Result(name, "stages", "image", "projection", numbers, {}))
    return results


def _table(results: list[Result]) -> Table:
    numbers = [(one.model, one.numbers) for one in results]
    rows = [
        [model, f"{100 * one['neighbor_accuracy']:.1f}", f"{100 * one['chance']:.1f}", str(one["count"])]
        for model, one in numbers
    ]
    return Table(HEADING, rows)


def real() -> Real:
    """Says what Figure 8 needs."""
    return Real(
        "`atoken evaluate` with a set {set: labelled-folder, task: projection} and embedders {adapter: "
        "atoken-features, layer: features, latents or codes} (docs/evaluation.md)",
        "images of some ImageNet classes, and the four stages of So400m, of which only the last two are released",
        hours_text([Media.images(1_000, 256, decoded=False)]),
    )
