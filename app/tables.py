"""The output of commands: tables for people, JSON for programs."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from .console import print_json, printable, say, standard_output
from .jobs import Record, list_failures, list_warnings
from .rows import DecodedRow, EmbeddedRow, ReconstructedRow, Row, StoredRow

if TYPE_CHECKING:
    from atoken.tokenizing.loading import LoadedModel

R = TypeVar("R", bound=Row)


def report(
    rows: list[R],
    record: Record,
    as_json: bool,
    table: Callable[[list[R]], Table | None],
    facts: dict[str, Any],
) -> None:
    """
    Prints the results, what was passed over, what readers warned about and what failed, and ends with exit code 1 if
    anything did; warnings and files that were passed over do not change the exit code.

    Args:
        rows: of the files that were worked on.
        record: what became of the others.
        as_json: prints JSON instead of a table.
        table: makes a table of the rows.
        facts: what JSON says about the whole run.
    """
    if as_json:
        lists = {
            "results": [row.as_json() for row in rows],
            "failures": [asdict(failure) for failure in record.failures],
            "passed_over": record.passed_over,
        }
        print_json({**facts, **lists})
    elif rows and (shown := table(rows)) is not None:
        standard_output().print(shown)
    # A file may have several rows, one for each model; what is said of it is then the same.
    list_warnings({each.file: each.warnings for each in (*rows, *record.failures) if each.warnings}, record.total)
    list_failures(record)
    if record.failures:
        raise typer.Exit(1)


def text_table(columns: list[str], rows: Iterable[list[str]], numbers: bool = True) -> Table:
    """Makes a table of plain texts, with `numbers` in all columns but the first."""
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(as_text(column), justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(as_text, row))
    return table


def as_text(cell: str) -> Text:
    """Gives a cell as it stands: nothing in a file's name is a style, a link or an escape."""
    return Text(printable(cell))


def quality_table(rows: list[ReconstructedRow]) -> Table:
    """Shows how close reconstructions came, and what their tokens cost."""
    from atoken.pages.readable import number_text

    if all(row.ssim is None for row in rows):
        say("SSIM needs sides of at least 11 pixels")
    several = len({row.model for row in rows}) > 1
    return text_table(
        ["file", *(["model"] if several else []), "size", "PSNR", "SSIM", "tokens", "bits/pixel", "as", "seconds"],
        (
            [
                *(row.file, *([Path(row.model).name] if several else []), _extent(row)),
                *(number_text(row.psnr, 2), number_text(row.ssim, 4), f"{row.tokens:,}"),
                *(number_text(row.bits_per_pixel, 3), row.latent_dtype, number_text(row.seconds, 2)),
            ]
            for row in rows
        ),
    )


def stored_table(rows: list[StoredRow]) -> Table:
    """Shows what `encode` wrote."""
    from atoken.pages.readable import number_text

    return text_table(
        ["file", "output", "size", "tokens", "content", "as", "bytes", "bits/pixel", "seconds"],
        (
            [
                *(row.file, row.output, _extent(row), f"{row.tokens:,}", row.content, row.dtype, f"{row.bytes:,}"),
                *(number_text(row.bits_per_pixel, 3), number_text(row.seconds, 2)),
            ]
            for row in rows
        ),
    )


def decoded_table(rows: list[DecodedRow]) -> Table:
    """Shows what `decode` wrote."""
    return text_table(
        ["file", "output", "size", "tokens", "seconds"],
        ([row.file, row.output, _extent(row), f"{row.tokens:,}", f"{row.seconds:.2f}"] for row in rows),
    )


def similarity_table(rows: list[EmbeddedRow]) -> Table | None:
    """Shows the cosines of files and texts; there is no table without texts."""
    texts = list(rows[0].similarities or {})
    if not texts:
        return None
    cells = ([row.file, *(f"{row.similarities[text]:.4f}" for text in texts)] for row in rows)
    return text_table(["file", *texts], cells)


def about(loaded: "LoadedModel | None") -> dict[str, Any]:
    """Gives what JSON says about the model of a run."""
    if loaded is None:
        return {}
    parameter = loaded.model.latent_proj.weight
    return {
        "model": loaded.name,
        "fingerprint": loaded.fingerprint,
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
    }


def fact_groups(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Makes tables of their own of dictionaries inside of facts."""
    groups: dict[str, dict[str, Any]] = {"": {}}
    for name, value in facts.items():
        if isinstance(value, dict) and name != "quantizer":
            groups[name.replace("_", " ")] = (
                value if name == "files" else {key.replace("_", " "): value[key] for key in value}
            )
        else:
            groups[""][name.replace("_", " ")] = value
    return groups


def readable(value: Any) -> str:
    """Writes a fact as a cell of a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return " x ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items()).replace("_", " ")
    return "none" if value is None else str(value)


def _extent(row: ReconstructedRow | StoredRow | DecodedRow) -> str:
    from atoken.pages.readable import size_text

    if row.kind != "object":
        return size_text(row.media_size)
    gaussians = getattr(row, "gaussians", None)
    return "object" if gaussians is None else f"{gaussians:,} Gaussians"
