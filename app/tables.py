"""What the `atoken` command prints: tables for people, JSON for programs."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from .jobs import Failure, list_failures, say


def standard_output() -> Console:
    """Standard output; through a pipe wide enough that no name is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_json(value: Any) -> None:
    """JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def report(
    results: list[dict[str, Any]],
    failures: list[Failure],
    total: int,
    as_json: bool,
    table: Callable[[list[dict[str, Any]]], Table | None],
    about: dict[str, Any],
) -> None:
    """Prints the results and what failed, and ends with exit code 1 if anything did."""
    if as_json:
        print_json({**about, "results": results, "failures": [asdict(failure) for failure in failures]})
    elif results and (shown := table(results)) is not None:
        standard_output().print(shown)
    list_failures(failures, total)
    if failures:
        raise typer.Exit(1)


def _table(columns: list[str], rows: Iterable[list[str]]) -> Table:
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    return table


def quality_table(results: list[dict[str, Any]]) -> Table:
    """How close reconstructions came, and what their tokens cost."""
    if all(result["ssim"] is None for result in results):
        say("SSIM needs sides of at least 11 pixels")
    several = len({result.get("model") for result in results}) > 1
    model = ["model"] if several else []
    return _table(
        ["file", *model, "size", "PSNR", "SSIM", "tokens", "bits/pixel", "as", "seconds"],
        (
            [
                *(result["file"], *(Path(result[name]).name for name in model), _extent(result)),
                *(number_text(result["psnr"], 2), number_text(result["ssim"], 4), f"{result['tokens']:,}"),
                *(number_text(result["bits_per_pixel"], 3), result["latent_dtype"]),
                number_text(result["seconds"], 2),
            ]
            for result in results
        ),
    )


def stored_table(results: list[dict[str, Any]]) -> Table:
    """What `encode` wrote."""
    return _table(
        ["file", "output", "size", "tokens", "content", "as", "bytes", "bits/pixel", "seconds"],
        (
            [
                *(result["file"], result["output"], _extent(result), f"{result['tokens']:,}"),
                *(result["content"], result["dtype"], f"{result['bytes']:,}"),
                *(number_text(result["bits_per_pixel"], 3), number_text(result["seconds"], 2)),
            ]
            for result in results
        ),
    )


def decoded_table(results: list[dict[str, Any]]) -> Table:
    """What `decode` wrote."""
    return _table(
        ["file", "output", "size", "tokens", "seconds"],
        (
            [
                *(result["file"], result["output"], _extent(result)),
                *(f"{result['tokens']:,}", number_text(result["seconds"], 2)),
            ]
            for result in results
        ),
    )


def similarity_table(results: list[dict[str, Any]]) -> Table | None:
    """Cosines of files and texts, None without texts."""
    texts = list(results[0].get("similarities", {}))
    if not texts:
        return None
    return _table(
        ["file", *texts],
        ([result["file"], *(number_text(value, 4) for value in result["similarities"].values())] for result in results),
    )


def fact_groups(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dictionaries inside of facts become tables of their own."""
    groups: dict[str, dict[str, Any]] = {"": {}}
    for name, value in facts.items():
        if isinstance(value, dict) and name != "quantizer":
            groups[name] = value if name == "files" else {key.replace("_", " "): value[key] for key in value}
        else:
            groups[""][name.replace("_", " ")] = value
    return groups


def readable(value: Any) -> str:
    """A fact as a cell of a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return " x ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items()).replace("_", " ")
    return "none" if value is None else str(value).replace("[", r"\[")


def number_text(value: float | None, digits: int, unit: str = "") -> str:
    """A number with so many digits, a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def _extent(result: dict[str, Any]) -> str:
    if result["kind"] == "object":
        return f"{result['gaussians']:,} Gaussians" if "gaussians" in result else "object"
    return size_text(result["media_size"])


def size_text(media_size: list[int]) -> str:
    """(frames, height, width) the way people write it: width x height, and the frames of a video."""
    frames, height, width = media_size
    return f"{width} x {height}" + (f", {frames} frames" if frames > 1 else "")
