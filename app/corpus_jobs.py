"""The work of `atoken tokenize`: units done by one worker or many, a report, and the verification of what is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from atoken.tokenizing.corpus.finishing import finish, write_into_config
from atoken.tokenizing.corpus.models import CorpusModel
from atoken.tokenizing.corpus.plan import Plan, load_planned_model, read_plan
from atoken.tokenizing.corpus.processes import run_processes
from atoken.tokenizing.corpus.ray_tasks import run_ray
from atoken.tokenizing.corpus.sources import CorpusSource
from atoken.tokenizing.corpus.verification import compare_with_originals, verify
from atoken.tokenizing.corpus.work import DamagedUnit, work

from .console import print_json, progress_bar, say, standard_output
from .errors import one_line
from .tables import as_text, fact_groups, readable

_SHOWN_FAILURES = 10
# In statistics.json, and too long for a table.
_LONG_FACTS = ("mean", "std", "reasons", "used", "entries", "perplexity")


@dataclass(frozen=True)
class Workers:
    """
    Says who does the units.

    Attributes:
        device: "cpu" or "cuda".
        processes: side by side, or tasks of Ray at a time.
        shard: which of how many workers this call is.
        decoding_processes: of each worker.
        ray: whether units are tasks of Ray.
    """

    device: str
    processes: int
    shard: tuple[int, int]
    decoding_processes: int
    ray: bool


def run_workers(plan: Plan, loaded: CorpusModel, source: CorpusSource, workers: Workers) -> list[str]:
    """Does what is missing, and gives what is wrong with whole units."""
    total = len(plan.units)
    with progress_bar() as bar:
        task = bar.add_task("tokenizing", total=total, completed=plan.files.count())

        def show(done: int) -> None:
            bar.update(task, completed=done)

        if workers.ray:
            return run_ray(plan, workers.device, workers.processes if workers.processes > 1 else None, show)
        if workers.processes > 1:
            parts = workers.processes, workers.device, *workers.shard, workers.decoding_processes
            return run_processes(plan, *parts, show)
        damaged = []
        for record in work(plan, loaded, source, *workers.shard, workers.decoding_processes):
            if isinstance(record, DamagedUnit):
                damaged.append(str(record))
            show(plan.files.count())
        return damaged


def report_corpus(plan: Plan, damaged: list[str], into_config: Path | None, as_json: bool) -> None:
    """Prints what there is now, and ends with exit code 1 if anything could not be used."""
    missing = plan.missing()
    facts = {} if missing else finish(plan)
    if into_config is not None and not missing:
        write_into_config(plan, into_config)
    shown = {"out": str(plan.folder), "units": len(plan.units), "missing": len(missing), **facts}
    if as_json:
        print_json({**shown, "damaged": damaged})
    else:
        if "used" in facts:
            used = facts["used"]
            shown["codes used"] = f"{min(used):,} to {max(used):,} of {facts['entries']:,} in each codebook"
        _print({name: value for name, value in shown.items() if name not in _LONG_FACTS})
    for text in damaged:
        say(one_line(ValueError(text)))
    if facts.get("failures"):
        say(f"{facts['failures']} of the source's rows could not be used; the .json beside each part names them:")
        for reason, count in list(facts["reasons"].items())[:_SHOWN_FAILURES]:
            say(f"  {count} x {reason}")
    if missing and not damaged:
        say(f"{len(missing)} of {len(plan.units)} units are not done yet: others work on them, or have been stopped")
    if into_config is not None and missing:
        say(f"{into_config} is unchanged: the corpus is not complete")
    if damaged or facts.get("failures") or (into_config is not None and missing):
        raise typer.Exit(1)


def verify_corpus(out: Path, device: str, decode: int, as_json: bool) -> None:
    """Checks a corpus, compares `decode` of its rows with their originals, and prints what was found."""
    plan = read_plan(out)
    with progress_bar() as bar:
        task = bar.add_task("verifying", total=len(plan.units))
        found = verify(plan, lambda done, total: bar.update(task, completed=done))
    if decode and not found.problems:
        loaded = load_planned_model(plan, device)
        compare_with_originals(plan, loaded, plan.open_source(), decode, found)
    if as_json:
        print_json(found.as_json())
    else:
        facts = {"out": str(out), "units": found.units, "rows": found.rows, "failures": found.failures}
        decibels = [check.psnr for check in found.decoded if check.psnr is not None]
        if found.decoded:
            facts["compared"] = len(found.decoded)
            facts["largest difference"] = f"{max(check.difference or 0 for check in found.decoded):.2%}"
        if decibels:
            facts["PSNR, lowest and mean"] = f"{min(decibels):.2f} and {sum(decibels) / len(decibels):.2f} dB"
        _print({**facts, "problems": len(found.problems)})
    for problem in found.problems:
        say(problem)
    if found.problems:
        raise typer.Exit(1)


def _print(facts: dict[str, Any]) -> None:
    for title, group in fact_groups(facts).items():
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in group.items():
            table.add_row(as_text(name), as_text(readable(value)))
        standard_output().print(table)
