"""Tables of `atoken evaluate` into a Markdown file, between two comments.

python -m atoken.evaluation.readme_table table/results.json README.md
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from .page import markdown_table, set_table

START, END = "<!-- offline table -->", "<!-- end of offline table -->"


def insert(text: str, results: dict) -> str:
    """
    The text with the tables of results between `START` and `END`.

    Raises:
        ValueError: the text has not exactly one place for them.
    """
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"expected {START} and {END} once each")
    names = dict.fromkeys(one["set"] for one in results["results"])
    parts = []
    for name in names:
        chosen = [one for one in results["results"] if one["set"] == name]
        count = chosen[0]["numbers"]["count"]
        heading, rows = set_table(chosen)
        heading, rows = heading[:-1], [row[:-1] for row in rows]  # the count is said above
        parts.append(f"**{name[0].upper()}{name[1:]}** ({count}):\n\n{markdown_table(heading, rows)}\n")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{chr(10).join(parts)}{END}{rest.partition(END)[2]}"


def main(
    results: Annotated[Path, typer.Argument(help="results.json of `atoken evaluate`.")],
    target: Annotated[Path, typer.Argument(help="Markdown file with the two comments.")],
) -> None:
    """Replaces what stands between the comments."""
    text = insert(target.read_text(encoding="utf-8"), json.loads(results.read_text(encoding="utf-8")))
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


if __name__ == "__main__":
    typer.run(main)
