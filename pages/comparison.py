"""The page that shows originals and reconstructions side by side."""

import html
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .document import address, document, generator_tag, write_document
from .readable import number_text

TITLE, GENERATOR = "AToken reconstructions", "atoken demo"


@dataclass(frozen=True)
class Picture:
    """
    Holds one picture or clip of a row.

    Attributes:
        title: what stands above it.
        file: address relative to the page.
        poster: still picture of a clip, None for a picture.
        facts: label and value of the numbers below it.
    """

    title: str
    file: str
    poster: str | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Holds an original and its reconstructions; `links` are texts and addresses."""

    name: str
    size: str
    pictures: list[Picture]
    links: list[tuple[str, str]] = field(default_factory=list)


def read_credits(path: Path) -> dict[str, str]:
    """
    Reads the author and license of each file named in a Markdown table, as HTML.

    Args:
        path: a file with a table whose first column names files, with the columns "author" and "license". If it does
            not exist, nothing is credited.
    """
    if not path.is_file():
        return {}
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith("|")
    ]
    header = next((row for row in rows if {"author", "license"} <= {cell.lower() for cell in row}), None)
    if header is None:
        return {}
    author, license = ([cell.lower() for cell in header].index(name) for name in ("author", "license"))
    return {
        row[0].strip("`"): f"{_inline(row[author])} · {_inline(row[license])}"
        for row in rows
        if len(row) == len(header) and row[0].startswith("`")
    }


def _inline(markdown: str) -> str:
    """Text with links of http(s) addresses, everything else escaped."""
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', html.escape(markdown, quote=True))


def write_page(folder: Path, rows: list[Row], licenses: Path, introduction: str) -> None:
    """
    Writes `index.html`.

    Args:
        folder: where the pictures are.
        rows: from top to bottom.
        licenses: see `read_credits`; copied beside the page if it exists.
        introduction: plain text.
    """
    credits = read_credits(licenses)
    footer = ""
    if credits:
        shutil.copyfile(licenses, folder / licenses.name)
        name = html.escape(licenses.name)
        link = f'<a href="{address(licenses.name)}">{name}</a>'
        footer = f"<p>Where the media come from, and their licenses: {link}.</p>"
    sections = "\n".join(_section(row, credits.get(row.name, "")) for row in rows)
    body = f"""<header><h1>{TITLE}</h1><p>{html.escape(introduction)}</p></header>
<main>
{sections}
</main>
<footer>{footer}</footer>
<script>{_SCRIPT}</script>"""
    write_document(folder / "index.html", document(TITLE, body, GENERATOR))


def is_comparison(page: Path) -> bool:
    """Tells whether a file is a page that `write_page` wrote."""
    return page.is_file() and generator_tag(GENERATOR) in page.read_text(encoding="utf-8", errors="replace")


def quality_facts(
    psnr: float | None, ssim: float | None, tokens: int, bits_per_pixel: float | None, seconds: float
) -> list[tuple[str, str]]:
    """Gives the labels and values that stand below a reconstruction."""
    return [
        ("PSNR", number_text(psnr, 2, " dB")),
        ("SSIM", number_text(ssim, 3)),
        ("tokens", f"{tokens:,}"),
        ("bits / pixel", number_text(bits_per_pixel, 3)),
        ("seconds", number_text(seconds, 2)),
    ]


def _section(row: Row, credit: str) -> str:
    figures = "\n".join(_figure(picture, f"{row.name}, {picture.title}") for picture in row.pictures)
    credit = f'<p class="credit">{credit}</p>' if credit else ""
    links = "".join(f'<p><a href="{address(file)}">{html.escape(text)}</a></p>' for text, file in row.links)
    return f"""<section>
<h2>{html.escape(row.name)} <small>{html.escape(row.size)}</small></h2>
<div class="row">
{figures}
</div>
{links}
{credit}
</section>"""


def _figure(picture: Picture, description: str) -> str:
    source, label = address(picture.file), html.escape(description)
    if picture.poster is None:
        shown = f'<a href="{source}"><img src="{source}" alt="{label}" loading="lazy"></a>'
    else:
        poster = address(picture.poster)
        shown = f'<video src="{source}" poster="{poster}" aria-label="{label}" controls loop muted playsinline></video>'
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in picture.facts
    )
    return f"""<figure>
<figcaption>{html.escape(picture.title)}</figcaption>
{shown}
{f"<dl>{facts}</dl>" if facts else ""}
</figure>"""


# The clips of one row start, stop and jump together, so that they can be compared.
_SCRIPT = """
for (const row of document.querySelectorAll(".row")) {
  const clips = [...row.querySelectorAll("video")];
  for (const clip of clips) for (const kind of ["play", "pause", "seeked"]) clip.addEventListener(kind, () => {
    for (const other of clips) if (other !== clip) {
      if (Math.abs(other.currentTime - clip.currentTime) > 0.08) other.currentTime = clip.currentTime;
      if (clip.paused !== other.paused) clip.paused ? other.pause() : other.play().catch(() => {});
    }
  });
}
"""
