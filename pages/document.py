"""The skeleton and the style sheet of every page that the project writes."""

import html
import os
from pathlib import Path
from urllib.parse import quote

from atoken.processing.atomic_files_atoken import atomic_file

ASSETS = Path(__file__).resolve().parent / "assets"


def document(title: str, body: str, generator: str, head: str = "", body_class: str = "") -> str:
    """
    Makes a whole HTML page, which needs nothing from the network.

    Args:
        title: plain text.
        body: HTML.
        generator: the command that writes such pages, so that it knows its own again.
        head: HTML that stands before the style sheet.
        body_class: of the style sheet, for pages that are laid out in another way.
    """
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    opening = f'<body class="{body_class}">' if body_class else "<body>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{head}<meta name="viewport" content="width=device-width, initial-scale=1">
{generator_tag(generator)}
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>
{style}</style>
</head>
{opening}
{body}
</body>
</html>
"""


def write_document(path: Path, page: str) -> None:
    """
    Writes a page, whole or not at all.

    Args:
        path: an existing page is replaced.
        page: what `document` gives. Bytes of file names that are no UTF-8 are written as escapes.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))


def address(file: str) -> str:
    """
    Gives the address of a file beside the page, fit for an attribute of HTML.

    A name is never taken for anything else, as "javascript:..." would be for a script, and "a#b" for a place in "a".
    """
    return quote(os.fsencode(file))


def generator_tag(generator: str) -> str:
    """Gives the line of a page that tells which command wrote it."""
    return f'<meta name="generator" content="{html.escape(generator)}">'
