"""`atoken evaluate`: the tables of a configuration file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import TaskID

from .console import progress_bar, say
from .errors import UsageError
from .jobs import check_output_folder
from .options import AsJson


def evaluate(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            help="A .yaml file with the models, data sets and measures; docs/evaluation.md explains it.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results. Give it again to continue a stopped run.")
    ],
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Number of parallel processes; the results do not depend on it.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again instead of continuing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure tokenizers, embedders and generators on data sets; write results.json, results.md and index.html."""
    if not config.is_file():
        raise UsageError(f"CONFIG: {config} is not a file")
    check_output_folder(output)
    from atoken.evaluation.number_tables import set_table
    from atoken.evaluation.runner import evaluate as run

    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(description: str, done: int, total: int) -> None:
            if description not in tasks:
                tasks[description] = bar.add_task(escape(description), total=total)
            bar.update(tasks[description], completed=done)

        results = run(config, output, processes, overwrite, show)
    if as_json:
        typer.echo((output / "results.json").read_text(encoding="utf-8").rstrip())
        return
    for name, chosen in results.by_set().items():
        print(f"\n{name}\n\n{set_table(chosen).to_markdown()}")
    say(f"{output / 'index.html'} has the pictures")
