"""Figure 14: 3D objects of pictures by the embedded generator, where the clone has it."""

import json
from pathlib import Path
from typing import Any

from atoken.miniature.captions import full_caption
from atoken.miniature.world import MiniatureWorld
from atoken.pages.paper import Shown, TitledTable
from atoken.pages.report import Table

from ..captions import MADE, made_path
from ..number_tables import set_table
from .parts import Part
from .protocol import facts_text
from .reconstruction_config import CONTINUOUS
from .section import Real
from .workspace import Workspace

NAME = "image-to-object-tiny"
CEILING = f"true tokens of {CONTINUOUS}"
WORLD_SEED = 25
SIZE = 128  # of the views in which objects are compared
SET = "solids"
SHARE = 4  # an object takes as long as this many solids of other tasks
RECORD = "training.json"
HEADINGS = {"iou": "structure IoU ↑", "psnr": "PSNR of views ↑", "color": "color error ↓ (gray levels)"}


def make(workspace: Workspace) -> Part:
    """Makes Figure 14."""
    generator, tokenizer = workspace.checkpoint(NAME), workspace.checkpoint(CONTINUOUS)
    count = max(workspace.counts.shown, workspace.counts.solids // SHARE)
    options = {"split": "held_out", "count": count, "seed": WORLD_SEED, "size": SIZE, "small": True}
    config = {
        "sets": {SET: {"set": "miniature-objects", "task": "pictures", **options}},
        "generators": {
            NAME: {"adapter": "image-to-object", "model": generator},
            CEILING: {"adapter": "true-tokens", "model": tokenizer},
        },
    }
    results = workspace.evaluate("image-to-object", **config)
    made = workspace.evaluation_file("image-to-object", **config).parent / "run" / MADE / NAME / SET
    world = MiniatureWorld("object", "held_out", count, WORLD_SEED)
    shown = []
    for index in range(workspace.counts.shown):
        caption = full_caption(world.describe(index)[0])
        data = made_path(made, f"{index:05d}", "image").read_bytes()
        description = f"a picture of {caption}, and below views of the true object those of the one that was made"
        shown.append(Shown(data, "", description, caption))
    tables = [TitledTable("Held-out solids", set_table(results))]
    measured = (
        f"{count} solids of the miniature world whose pair of color and shape training left out, each made of one "
        f"picture by {NAME}. PSNR is the mean over views of {SIZE} x {SIZE} on black; an object that stands otherwise "
        "than the true one loses much of it. Pictures: the one it was made of and views of the true object, and below "
        "views of the object that was made."
    )
    protocol = [facts_text(results[0].protocol["model"]), facts_text(results[0].protocol["measured_by"])]
    path = Path(generator) / RECORD
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        tables.append(
            TitledTable("More of them, with what has to be beaten, from the training record", recorded(record))
        )
        protocol.append(f"training record: {record['protocol']}")
    return Part(measured, tables, shown, protocol)


def recorded(record: dict[str, Any]) -> Table:
    """Tabulates what a training record says of generated objects, of baselines and of the ceiling."""
    rows = [
        [name, f"{found['iou']:.3f}", f"{found['psnr']:.2f}", f"{found['color']:.1f}"]
        for name, found in record["measured"].items()
    ]
    return Table(["objects", *HEADINGS.values()], rows)


def real() -> Real:
    """Says what Figure 14 needs."""
    return Real(
        "the trainings of training/generators/image_to_object/stages, then `atoken generate --image picture.png -o "
        "object.ply --model FOLDER` (docs/generation.md)",
        "TRELLIS's training set (Objaverse-XL, ABO, 3D-FUTURE, HSSD) as tokens of So/C; pictures of Toys4k; DINOv2",
        "not known: the paper states no hours for this training",
    )
