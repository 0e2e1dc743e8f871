"""The stages of the tiny curriculum as the record of a release tells them: read, and not measured again."""

import json
from pathlib import Path
from typing import Any

from atoken.pages.paper import TitledTable
from atoken.pages.report import Table

from .parts import MissingInput
from .workspace import Workspace

RECORD = "checkpoints/atoken-tiny-d/training.json"  # of the last stage, which has all of them
# What a table shows: heading -> set and number of the record, factor, decimals.
COLUMNS: dict[str, dict[str, tuple[str, float, int]]] = {
    "photos": {
        "photos, 256 px, PSNR": ("photos 256/psnr", 1, 2),
        "photos, 256 px, SSIM": ("photos 256/ssim", 1, 3),
        "photos": ("photos 256/count", 1, 0),
    },
    "clips": {
        "clips, PSNR": ("clips/psnr", 1, 2),
        "clips, SSIM": ("clips/ssim", 1, 3),
        "clips": ("clips/count", 1, 0),
    },
    "images": {
        "shape, top-1 %": ("image shape/top1", 100, 1),
        "color, top-1 %": ("image colour/top1", 100, 1),
        "text to image R@1 %": ("image retrieval/text_to_sample_r1", 100, 1),
        "image to text R@1 %": ("image retrieval/sample_to_text_r1", 100, 1),
    },
    "videos": {
        "motion, top-1 %": ("video motion/top1", 100, 1),
        "shape, top-1 %": ("video shape/top1", 100, 1),
        "text to video R@1 %": ("video retrieval/text_to_sample_r1", 100, 1),
        "video to text R@1 %": ("video retrieval/sample_to_text_r1", 100, 1),
    },
}


def read_record(path: Path) -> dict[str, Any]:
    """
    Reads the record of a release (`training.json`), or the numbers that a run has gathered by stage (`record.json`).

    Returns:
        A mapping that has "stages": stage -> "set/measure" -> number.

    Raises:
        MissingInput: it is neither, or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values and all(name.isdecimal() for name in values):
            values = {"stages": values}
        if not all(isinstance(numbers, dict) for numbers in values["stages"].values()):
            raise TypeError("stages must be a mapping to numbers")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingInput(
            f"{path} must be a record of the curriculum, which it is not ({error}); git has it"
        ) from error
    return values


def first_run(record: dict[str, Any]) -> dict[str, Any]:
    """Gives the run from which all others went on: the only one that has every stage."""
    while "before" in record:
        record = record["before"]
    return record


def stages_of(workspace: Workspace) -> dict[str, dict[str, float]]:
    """
    Gives the numbers of every stage of the tiny curriculum's first run: stage -> "set/measure" -> number.

    Raises:
        MissingInput: the record is not in the clone.
    """
    record = first_run(read_record(workspace.file(RECORD, "it belongs to the checkpoint")))
    return dict(sorted(record["stages"].items()))


def stage_table(workspace: Workspace, what: str) -> list[TitledTable]:
    """Tabulates the stages as the record tells them, in a list of one table; of none where it is not there."""
    try:
        stages = stages_of(workspace)
    except MissingInput:
        return []
    return [TitledTable("Stage by stage, from the training record of atoken-tiny-d", table_of(stages, what))]


def table_of(stages: dict[str, dict[str, float]], what: str) -> Table:
    """
    Tabulates numbers of stages.

    Args:
        stages: stage -> "set/measure" -> number.
        what: one of `COLUMNS`.
    """
    columns = COLUMNS[what]
    rows = [[f"stage {number}", *(cell(numbers, *of) for of in columns.values())] for number, numbers in stages.items()]
    return Table(["tiny curriculum", *columns], rows)


def cell(numbers: dict[str, float], name: str, factor: float, decimals: int) -> str:
    """Writes a number of a record, or nothing where the record lacks it."""
    return "" if numbers.get(name) is None else f"{factor * numbers[name]:,.{decimals}f}"
