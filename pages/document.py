"""The skeleton and the style sheet of every page that the project writes."""

import html
from pathlib import Path

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


def generator_tag(generator: str) -> str:
    """Gives the line of a page that tells which command wrote it."""
    return f'<meta name="generator" content="{html.escape(generator)}">'
