"""Numbers that others have measured as sections of a page, and all that the paper's Table 13 has in one table."""

from typing import Any

from atoken.pages.report import Section, Table

from .number_tables import number_cell, numbered_table, set_table
from .reports.geneval import NAME as GENEVAL
from .reports.vbench import NAME as VBENCH
from .results import Result

ORIGIN = "Where the numbers are from"


def report_section(name: str, results: list[Result]) -> Section:
    """Tabulates what others have measured, with what each number depends on."""
    names = ("version", "detector", "files", "described", "incomplete")
    given = [each for each in names if any(each in result.protocol for result in results)]
    rows = [[result.model, *(said(result.protocol.get(each)) for each in given)] for result in results]
    partial = [result.model for result in results if result.protocol["incomplete"]]
    facts = f"measured by {results[0].protocol['source']} elsewhere, read from its files"
    if partial:
        facts += f"; not the whole of it for {', '.join(partial)}, see below"
    return Section(name, set_table(results), facts, appendices={ORIGIN: Table(["model", *given], rows)})


def said(value: Any) -> str:
    """Writes a fact of a protocol as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def of_texts_table(results: list[Result]) -> Table | None:
    """
    Tabulates CLIP-Score, PickScore, GenEval and VBench of each model above the paper's Table 13.

    Scores of several sets of images stand in rows of their own; an import that is not whole, or of another detector, is
    left out here.

    Returns:
        The table, None if there is none of these numbers.
    """
    columns = ("clip_score", "pick_score", "geneval", "vbench_quality", "vbench_semantic", "vbench_total")
    scored = [one for one in results if one.task == "captions" and one.kind == "image"]
    scored = [one for one in scored if set(columns) & set(one.numbers)]
    reported = [one for one in results if one.task == "report" and one.set in (GENEVAL, VBENCH)]
    reported = [one for one in reported if not one.protocol["incomplete"]]
    rows: dict[str, dict[str, Any]] = {}
    sets = {one.set for one in scored}
    for one in scored:
        rows[one.model if len(sets) == 1 else f"{one.model} on {one.set}"] = dict(one.numbers)
    for one in reported:
        rows.setdefault(one.model, {}).update(one.numbers)
    if not rows:
        return None
    paper = numbered_table(13)
    cells = [
        [name, *(number_cell(column, numbers[column]) if column in numbers else "" for column in columns)]
        for name, numbers in rows.items()
    ]
    return Table(["model", *paper.heading[1:]], cells + [[f"{row[0]} (paper)", *row[1:]] for row in paper.rows])
