"""The page of an evaluation: tables, plots and pictures under headings."""

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path

from .document import address, document, write_document

GENERATOR = "atoken evaluate"


@dataclass(frozen=True)
class Table:
    """Holds the texts of a table."""

    heading: list[str]
    rows: list[list[str]]

    def to_markdown(self) -> str:
        """Writes the table in Markdown."""
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.heading, *self.rows)]
        return "\n".join([lines[0], "|" + "---|" * len(self.heading), *lines[1:]])


@dataclass(frozen=True)
class Plot:
    """Holds a drawn plot, which becomes part of the page, and what it shows in words."""

    png: bytes
    description: str


@dataclass(frozen=True)
class Picture:
    """Holds the address of a picture relative to the page, what it shows in words, and what stands below it."""

    file: str
    description: str
    caption: str


@dataclass(frozen=True)
class Section:
    """
    Holds what stands under one heading, from top to bottom.

    Attributes:
        title: the heading.
        table: the numbers.
        facts: what they depend on.
        plots: as wide as the page at most.
        galleries: pictures by title; they are folded away.
        appendices: tables by title; they are folded away.
    """

    title: str
    table: Table
    facts: str
    plots: list[Plot] = field(default_factory=list)
    galleries: dict[str, list[Picture]] = field(default_factory=dict)
    appendices: dict[str, Table] = field(default_factory=dict)


def write_report_page(path: Path, title: str, sections: list[Section]) -> None:
    """
    Writes the page. It needs nothing from the network, and no script.

    Args:
        path: an existing page is replaced.
        title: plain text, as are all texts of the sections.
        sections: from top to bottom.
    """
    body = f"<header><h1>{html.escape(title)}</h1></header>\n<main>\n{''.join(map(_section, sections))}</main>"
    write_document(path, document(title, body, GENERATOR))


def _section(section: Section) -> str:
    parts = [
        f"<h2>{html.escape(section.title)}</h2>",
        _table(section.table),
        f'<p class="facts">{html.escape(section.facts)}</p>',
        *(_plot(plot) for plot in section.plots),
        *(_folded(title, _gallery(pictures)) for title, pictures in section.galleries.items()),
        *(_folded(title, _table(table)) for title, table in section.appendices.items()),
    ]
    return "<section>\n" + "\n".join(parts) + "\n</section>\n"


def _table(table: Table) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in table.rows)
    return f'<div class="wide"><table>{line(table.heading, "th")}{body}</table></div>'


def _plot(plot: Plot) -> str:
    data = base64.b64encode(plot.png).decode()
    return f'<img class="plot" alt="{html.escape(plot.description)}" src="data:image/png;base64,{data}">'


def _gallery(pictures: list[Picture]) -> str:
    return f'<div class="row">{"".join(map(_picture, pictures))}</div>'


def _picture(picture: Picture) -> str:
    return (
        f'<figure><img loading="lazy" alt="{html.escape(picture.description)}" src="{address(picture.file)}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"
