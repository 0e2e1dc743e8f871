"""Scores by lmms-eval as sections of a page: Tables 9 and 10 beside the paper's rows, and the miniature questions."""

from atoken.pages.readable import number_text
from atoken.pages.report import Section, Table

from .paper_tables import paper_rows
from .reports.lmms_results import MINIATURE, PAPER_TASKS
from .results import Result

_MEDIA = {9: "images", 10: "videos"}


def answer_sections(results: list[Result]) -> list[Section]:
    """
    Makes a section for each of the paper's tables that the results fill in part, and one for miniature questions.

    Args:
        results: of `read_lmms_results`, of one or more files.
    """
    sections = [_paper_section(number, results) for number in PAPER_TASKS]
    return [each for each in (*sections, _miniature_section(results)) if each is not None]


def _paper_section(number: int, results: list[Result]) -> Section | None:
    tasks = PAPER_TASKS[number]
    chosen = [result for result in results if result.set in {task.task for task in tasks}]
    if not chosen:
        return None
    scores = {(_label(result), result.set): result.numbers["accuracy"] for result in chosen}
    ours = [
        [label, *(number_text(scores.get((label, task.task)), 1) for task in tasks)]
        for label in dict.fromkeys(map(_label, chosen))
    ]
    papers = [[f"{row.method} (paper)", *(number_text(value, 1) for value in row.values)] for row in paper_rows(number)]
    heading = ["model", *(task.dataset for task in tasks)]
    title = f"Questions about {_MEDIA[number]} (the paper's Table {number}, %)"
    return Section(title, Table(heading, ours + papers), _facts(chosen), appendices={"Runs": _runs(chosen)})


def _miniature_section(results: list[Result]) -> Section | None:
    chosen = [result for result in results if result.set.startswith(MINIATURE)]
    if not chosen:
        return None
    rows = [
        [
            result.set.removeprefix(MINIATURE).replace("_", " "),
            _label(result),
            number_text(result.numbers["accuracy"], 1),
            number_text(result.numbers["chance_percent"], 1),
            str(result.numbers.get("count", "")),
        ]
        for result in sorted(chosen, key=lambda result: result.set)
    ]
    table = Table(["question", "model", "right %", "chance %", "questions"], rows)
    facts = "scenes with combinations of color and shape that training left out; " + _facts(chosen)
    return Section("Miniature questions", table, facts, appendices={"Runs": _runs(chosen)})


def _label(result: Result) -> str:
    """Names a model, and says where only a part of a task was asked."""
    limit = result.protocol["limit"]
    return f"{result.model} (only {limit:g} of each task)" if limit else result.model


def _facts(results: list[Result]) -> str:
    versions = sorted({result.protocol["lmms_eval"] for result in results})
    return f"lmms-eval {', '.join(versions)}; exact answers, greedy unless a task says otherwise"


def _runs(results: list[Result]) -> Table:
    """Tabulates what each number depends on."""
    names = ("lmms_eval", "date", "task_version", "metric", "generation", "model_args")
    heading = ["model", "task", *(name.replace("_", " ") for name in names)]
    return Table(
        heading, [[result.model, result.set, *(str(result.protocol[name]) for name in names)] for result in results]
    )
