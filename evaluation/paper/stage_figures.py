"""Figure 7: the half-size sibling against the tiny model, stage by stage, from the records of their trainings."""

from typing import Any

from atoken.pages.paper import Shown, TitledTable

from .drawings import plot
from .parts import Part
from .section import Real
from .stage_records import RECORD, first_run, read_record, table_of
from .workspace import Workspace

HALF = "docs/curriculum/half-size.json"
REMEDY = (
    "`python -m atoken.training.recipes.tiny.curriculum data runs/half --size half` trains it and writes "
    "runs/half/record.json, which this file is"
)
# Panel of the paper's figure -> number of the records, factor, what stands at the axis.
PANELS: dict[str, tuple[str, float, str]] = {
    "(b) photos, 256 px": ("photos 256/psnr", 1, "PSNR (dB)"),
    "(c) drawn images": ("image shape/top1", 100, "shape, zero-shot top-1 %"),
    "(d) clips": ("clips/psnr", 1, "PSNR (dB)"),
    "drawn clips": ("video motion/top1", 100, "motion, zero-shot top-1 %"),
}
TABLES = ("photos", "images", "clips", "videos")

Stages = dict[str, dict[str, float]]


def make(workspace: Workspace) -> Part:
    """Makes Figure 7."""
    records = {
        "tiny": first_run(read_record(workspace.file(RECORD, "it belongs to the checkpoint"))),
        "half size": first_run(read_record(workspace.file(HALF, REMEDY))),
    }
    stages = {size: dict(sorted(record["stages"].items())) for size, record in records.items()}
    shown = Shown(plot(12, 3.2, lambda figure: draw_panels(figure, stages)), "", _described(), "By stage")
    measured = (
        "The tiny model (width 192, 4 + 4 blocks) and a sibling of half its size (width 96, 2 + 2 blocks) after each "
        "stage of the tiny curriculum, from their training records. PSNR stands where the paper has rFID, panel (a), "
        "which is rFID during stage 1, is left out. Both had few steps, so sizes differ in how fast they learn, too."
    )
    tables = [TitledTable(f"{size}, {what}", table_of(each, what)) for what in TABLES for size, each in stages.items()]
    return Part(measured, tables, [shown], [_protocol(size, record) for size, record in records.items()])


def draw_panels(figure: Any, stages: dict[str, Stages]) -> None:
    """
    Draws a panel for each number, with a line for each size.

    Args:
        figure: of matplotlib, empty.
        stages: size -> stage -> "set/measure" -> number.
    """
    for axes, (title, (name, factor, label)) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for size, each in stages.items():
            known = {int(number): factor * numbers[name] for number, numbers in each.items() if name in numbers}
            axes.plot(list(known), list(known.values()), "o-", label=size)
        axes.set(title=title, xlabel="stage", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


def _described() -> str:
    return "; ".join(f"{title}: {label} by stage" for title, (_, _, label) in PANELS.items())


def _protocol(size: str, record: dict[str, Any]) -> str:
    facts = {name: record[name] for name in ("command", "steps", "minutes", "protocol") if name in record}
    return f"{size}: " + "; ".join(f"{name}: {value}" for name, value in facts.items())


def real() -> Real:
    """Says what Figure 7 needs."""
    return Real(
        "the stages of training/tokenizer/stages/so400m-*.yaml and base-*.yaml, each measured by `python -m "
        "atoken.training.tokenizer.validation`",
        "the curriculum's data (Table 2); ImageNet val and DAVIS to measure",
        "138,000 hours of H100 for So400m by the paper (section 3.5), which states none for Base",
    )
