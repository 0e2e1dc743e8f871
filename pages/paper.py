"""The page of a whole paper in miniature: tables side by side with the paper's, pictures, and what each depends on."""

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path

from .document import document, write_document
from .report import Table

GENERATOR = "atoken.evaluation.paper"
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}  # by the first bytes


@dataclass(frozen=True)
class TitledTable:
    """Holds a table and what stands above it."""

    title: str
    table: Table


@dataclass(frozen=True)
class Shown:
    """
    Holds a picture.

    Attributes:
        data: bytes of a PNG or JPEG file.
        row: heading of the row in which it stands, or nothing; pictures of one row are side by side.
        description: what it shows, in words.
        caption: what stands above it.
    """

    data: bytes
    row: str
    description: str
    caption: str


@dataclass(frozen=True)
class PaperPage:
    """
    Holds what is shown of a table or figure of the paper.

    Attributes:
        name: anchor, fit for an address.
        title: the heading.
        measured: what was measured, in sentences.
        tables: side by side where the window is wide enough.
        shown: pictures, row by row.
        protocol: what the numbers depend on; folded away.
        missing: what could not be measured, and how it could.
        real: what the paper's own numbers need, by label.
    """

    name: str
    title: str
    measured: str
    tables: list[TitledTable] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    real: dict[str, str] = field(default_factory=dict)


def write_paper_page(path: Path, title: str, introduction: str, pages: list[PaperPage]) -> None:
    """
    Writes the page. It is one file, without a script, and needs nothing from the network.

    Args:
        path: an existing page is replaced.
        title, introduction: plain text, as are all texts of the pages.
        pages: from top to bottom.
    """
    links = " · ".join(f'<a href="#{html.escape(page.name)}">{html.escape(_short(page.title))}</a>' for page in pages)
    head = f"<header><h1>{html.escape(title)}</h1><p>{html.escape(introduction)}</p><p>{links}</p></header>"
    body = f"{head}\n<main>\n{''.join(map(_section, pages))}</main>\n<footer></footer>"
    write_document(path, document(title, body, GENERATOR))


def _short(title: str) -> str:
    return title.partition(":")[0]


def _section(page: PaperPage) -> str:
    rows = dict.fromkeys(one.row for one in page.shown)
    parts = [
        f"<h2>{html.escape(page.title)}</h2>",
        f"<p>{html.escape(page.measured)}</p>",
        *(f'<p class="missing">Missing: {html.escape(text)}</p>' for text in page.missing),
        f'<div class="beside">{"".join(map(_table, page.tables))}</div>' if page.tables else "",
        *(_row(title, [one for one in page.shown if one.row == title]) for title in rows),
        _real(page.real),
        _protocol(page.protocol),
    ]
    return f'<section id="{html.escape(page.name)}">\n' + "\n".join(filter(None, parts)) + "\n</section>\n"


def _table(titled: TitledTable) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(line(row, "td") for row in titled.table.rows)
    table = f"<table>{line(titled.table.heading, 'th')}{rows}</table>"
    return f'<div class="wide"><h3>{html.escape(titled.title)}</h3>{table}</div>'


def _row(title: str, pictures: list[Shown]) -> str:
    figures = "".join(
        f'<figure><figcaption>{html.escape(one.caption)}</figcaption><img loading="lazy" '
        f'alt="{html.escape(one.description)}" '
        f'src="data:{_type(one.data)};base64,{base64.b64encode(one.data).decode()}"></figure>'
        for one in pictures
    )
    heading = f"<h3>{html.escape(title)}</h3>" if title else ""
    return f'{heading}<div class="pictures">{figures}</div>'


def _type(data: bytes) -> str:
    return next(kind for start, kind in _TYPES.items() if data.startswith(start))


def _real(real: dict[str, str]) -> str:
    lines = "".join(f"<li>{html.escape(name)}: {html.escape(text)}.</li>" for name, text in real.items())
    return f'<h3>What the paper\'s own numbers need</h3><ul class="facts">{lines}</ul>'


def _protocol(lines: list[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<details><summary>Protocol</summary><ul class="facts">{items}</ul></details>'
