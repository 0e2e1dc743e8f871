"""`atoken evaluate`: the tables of a configuration file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import say
from .errors import UsageError
from .jobs import check_output_folder
from .options import AsJson


def evaluate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A .yaml file: models, sets and measures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results; a stopped run goes on in it.")],
    processes: Annotated[int, typer.Option("--processes", min=1, help="Side by side; no number depends on it.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again instead of going on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure tokenizers on sets of images, videos and objects: results.json, results.md and index.html."""
    if not config.is_file():
        raise UsageError(f"CONFIG: {config} is not a file")
    check_output_folder(output)
    from atoken.evaluation.page import markdown_table, set_table
    from atoken.evaluation.runner import evaluate as run

    results = run(config, output, processes, overwrite)
    if as_json:
        print(json.dumps(results, indent=1))
        return
    for name in dict.fromkeys(result["set"] for result in results["results"]):
        chosen = [result for result in results["results"] if result["set"] == name]
        print(f"\n{name}\n\n{markdown_table(*set_table(chosen))}")
    say(f"{output / 'index.html'} has the pictures")
