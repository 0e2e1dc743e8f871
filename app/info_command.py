"""`atoken info`: what a model's folder or a latents file says about itself."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from atoken_headers.descriptions import describe
from atoken_headers.latents import read_header
from atoken_headers.model_folders import DEFAULT_MODEL

from .console import print_json, standard_output
from .errors import UsageError, naming
from .options import AsJson, ModelName
from .tables import as_text, fact_groups, readable


def info(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL|FILE]",
            help="A tokenizer, a generator or a language model (as for --model), or a file that `encode` wrote.",
        ),
    ] = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Describe a model (sizes, parameters, tokens, files) or a file of latents or codes, without reading weights."""
    if target is not None and model is not None:
        raise UsageError("give a model as argument or as --model, not both")
    if target is not None and Path(target).is_file():
        try:
            header = read_header(target)
        except ValueError as error:
            raise ValueError(f"{target}: {error}") from error
        facts = {"file": target, **asdict(header), "tokens": header.tokens, "shape": list(header.shape)}
        if header.times is not None and not as_json:
            facts["times"] = f"not even, {header.times[-1]:g} seconds in all"
    else:
        with naming("--model"):
            facts = describe(target or model or DEFAULT_MODEL)
    if as_json:
        print_json(facts)
        return
    console = standard_output()
    for title, group in fact_groups(facts).items():
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in group.items():
            table.add_row(as_text(name), as_text(readable(value)))
        console.print(table)
