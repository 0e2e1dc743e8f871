"""Tables of an evaluation into a Markdown file, between two comments.

python -m atoken.evaluation.readme_table table/results.json README.md
"""

from pathlib import Path
from typing import Annotated

import typer

from atoken.pages.report import Table
from atoken.processing.atomic_files_atoken import atomic_file

from .number_tables import set_table
from .results import Results

START, END = "<!-- offline table -->", "<!-- end of offline table -->"


def insert(text: str, results: Results) -> str:
    """
    Puts the tables of results between `START` and `END` of a text.

    Raises:
        ValueError: the text has not exactly one place for them.
    """
    if text.count(START) != 1 or text.count(END) != 1:
        given = f"{text.count(START)} and {text.count(END)} times"
        raise ValueError(f"text must have {START} and {END} once each, got {given}")
    parts = []
    for name, chosen in results.by_set().items():
        table = set_table(chosen)
        # The count, in the last column, is said above the table.
        table = Table(table.heading[:-1], [row[:-1] for row in table.rows])
        count = chosen[0].numbers["count"]
        parts.append(f"**{name[0].upper()}{name[1:]}** ({count}):\n\n{table.to_markdown()}\n")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{chr(10).join(parts)}{END}{rest.partition(END)[2]}"


def main(
    results: Annotated[Path, typer.Argument(help="results.json of `atoken evaluate`.")],
    target: Annotated[Path, typer.Argument(help="Markdown file with the two comments.")],
) -> None:
    """Replace what stands between the comments."""
    text = insert(target.read_text(encoding="utf-8"), Results.read(results))
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
