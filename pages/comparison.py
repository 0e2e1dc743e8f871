"""The page that shows originals and reconstructions side by side."""

import html
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoken_app.tables import number_text, size_text

# A page with this line may be replaced by the next one.
GENERATOR = '<meta name="generator" content="atoken demo">'


@dataclass
class Picture:
    """
    One picture or clip of a row.

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


@dataclass
class Row:
    """An original and its reconstructions. `credit` is one line of HTML, or empty; `links` are texts and addresses."""

    name: str
    size: str
    pictures: list[Picture]
    credit: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)


def read_credits(path: Path) -> dict[str, str]:
    """
    The author and licence of each file named in a Markdown table, as HTML.

    Args:
        path: a file with a table whose first column names files, with the columns "author" and "licence". If it does
            not exist, nothing is credited.
    """
    if not path.is_file():
        return {}
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith("|")
    ]
    header = next((row for row in rows if {"author", "licence"} <= {cell.lower() for cell in row}), None)
    if header is None:
        return {}
    author, licence = ([cell.lower() for cell in header].index(name) for name in ("author", "licence"))
    return {
        row[0].strip("`"): f"{_inline(row[author])} · {_inline(row[licence])}"
        for row in rows
        if len(row) == len(header) and row[0].startswith("`")
    }


def _inline(markdown: str) -> str:
    """Text with links of http(s) addresses, everything else escaped."""
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', html.escape(markdown, quote=True))


def render_page(title: str, introduction: str, rows: list[Row], footer: str = "") -> str:
    """
    The whole page.

    Args:
        title, introduction: plain text.
        rows: from top to bottom.
        footer: HTML.
    """
    sections = "\n".join(_section(row) for row in rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{GENERATOR}
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1><p>{html.escape(introduction)}</p></header>
<main>
{sections}
</main>
<footer>{footer}</footer>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _section(row: Row) -> str:
    figures = "\n".join(_figure(picture, f"{row.name}, {picture.title}") for picture in row.pictures)
    credit = f'<p class="credit">{row.credit}</p>' if row.credit else ""
    links = "".join(f'<p><a href="{html.escape(file)}">{html.escape(text)}</a></p>' for text, file in row.links)
    return f"""<section>
<h2>{html.escape(row.name)} <small>{html.escape(row.size)}</small></h2>
<div class="row">
{figures}
</div>
{links}
{credit}
</section>"""


def _figure(picture: Picture, description: str) -> str:
    source, label = html.escape(picture.file), html.escape(description)
    if picture.poster is None:
        shown = f'<a href="{source}"><img src="{source}" alt="{label}" loading="lazy"></a>'
    else:
        poster = html.escape(picture.poster)
        shown = f'<video src="{source}" poster="{poster}" aria-label="{label}" controls loop muted playsinline></video>'
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in picture.facts
    )
    return f"""<figure>
<figcaption>{html.escape(picture.title)}</figcaption>
{shown}
{f"<dl>{facts}</dl>" if facts else ""}
</figure>"""


_STYLE = """
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1b1e23; --soft: #636b76; --line: #e1e4e9;
  --accent: #2459c9; }
@media (prefers-color-scheme: dark) { :root { --back: #111317; --card: #1a1d23; --text: #e9ebef; --soft: #98a1ad;
  --line: #2b3038; --accent: #8ab0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 1500px; margin: 0 auto; padding: 0 clamp(1rem, 3vw, 2.5rem); }
header { padding-top: 2.5rem; padding-bottom: .5rem; }
h1 { margin: 0; font-size: clamp(1.5rem, 3vw, 2.1rem); letter-spacing: -.02em; }
header p { max-width: 75ch; margin: .5rem 0 0; color: var(--soft); }
section { margin: 1.5rem 0; padding: clamp(1rem, 2vw, 1.5rem); background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; }
h2 { margin: 0 0 .9rem; font-size: 1.1rem; }
h2 small { margin-left: .4rem; color: var(--soft); font-weight: 400; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: 1.25rem; }
figure { margin: 0; }
figcaption { margin-bottom: .4rem; font-size: .9rem; font-weight: 600; }
img, video { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--line); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(4.3rem, 1fr)); gap: .4rem .5rem; margin: .7rem 0 0; }
dt { color: var(--soft); font-size: .72rem; }
dd { margin: 0; font-size: .95rem; font-variant-numeric: tabular-nums; }
.credit, footer { color: var(--soft); font-size: .82rem; }
.credit { margin: .9rem 0 0; }
footer { padding-bottom: 3rem; }
a { color: var(--accent); }
"""

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


def write_page(folder: Path, rows: list[dict[str, Any]], licences: Path, introduction: str) -> None:
    """
    Writes `index.html`.

    Args:
        folder: where the pictures are.
        rows: each with `name`, `pictures` (file name and poster or None: the original's, then every model's) and
            `results` (the numbers, one dictionary per model); where there are pages to go to, `links`, texts and files.
        licences: see `read_credits`; copied beside the page if it exists.
        introduction: plain text.
    """
    credits, entries = read_credits(licences), []
    for row in rows:
        titles: list[str] = ["original"]
        facts: list[list[tuple[str, str]]] = [[]]
        for result in row["results"]:
            kind = "discrete codes" if result["latent_dtype"] == "codes" else "continuous latents"
            titles.append(f"{Path(result['model']).name} ({kind})")
            facts.append(_picture_facts(result))
        pictures = [
            Picture(title, file, poster, numbers)
            for title, (file, poster), numbers in zip(titles, row["pictures"], facts, strict=True)
        ]
        first = row["results"][0]
        size = "3D object" if first["kind"] == "object" else size_text(first["media_size"])
        entries.append(Row(row["name"], size, pictures, credits.get(row["name"], ""), row.get("links", [])))
    footer = ""
    if credits:
        shutil.copyfile(licences, folder / licences.name)
        name = html.escape(licences.name)
        footer = f'<p>Where the media come from, and their licences: <a href="{name}">{name}</a>.</p>'
    page = render_page("AToken reconstructions", introduction, entries, footer)
    (folder / "index.html").write_text(page, encoding="utf-8")


def _picture_facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("PSNR", number_text(result["psnr"], 2, " dB")),
        ("SSIM", number_text(result["ssim"], 3)),
        ("tokens", f"{result['tokens']:,}"),
        ("bits / pixel", number_text(result["bits_per_pixel"], 3)),
        ("seconds", number_text(result["seconds"], 2)),
    ]
