"""Tables of zero-shot classification and retrieval: a row for each model, and one for chance."""

from atoken.pages.report import Table

from ..results import Result

# Number of the harness -> heading.
RETRIEVAL = {
    f"{way}_r{rank}": f"{heading} R@{rank} %"
    for way, heading in (("text_to_sample", "text to {kind}"), ("sample_to_text", "{kind} to text"))
    for rank in (1, 5, 10)
}


def understanding_table(results: list[Result], ranks: tuple[int, ...] = (1,)) -> Table:
    """
    Tabulates top-1 accuracy of sets of classes and recall of sets of captions, in percent.

    Args:
        results: of embedders on sets of one kind of samples.
        ranks: of recall, some of 1, 5 and 10.
    """
    columns: dict[str, tuple[str, str]] = {}
    for result in results:
        if result.task == "classification":
            columns[f"{result.set}, top-1 %"] = (result.set, "top1")
        elif result.task == "retrieval":
            for name, heading in RETRIEVAL.items():
                if int(name.rpartition("_r")[2]) in ranks:
                    columns[heading.format(kind=result.kind)] = (result.set, name)
    found = {(result.model, result.set): result.numbers for result in results}
    models = list(dict.fromkeys(result.model for result in results))
    rows = [
        [model, *(_percent(found.get((model, of), {}).get(name)) for of, name in columns.values())] for model in models
    ]
    chance = [_percent(_chance(found, models, of, name)) for of, name in columns.values()]
    return Table(["model", *columns], [*rows, ["chance", *chance]])


def _chance(found: dict, models: list[str], of: str, name: str) -> float | None:
    numbers = next(found[model, of] for model in models if (model, of) in found)
    if name == "top1":
        return numbers["chance"]
    return min(1.0, int(name.rpartition("_r")[2]) * numbers["chance_at_1"])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
