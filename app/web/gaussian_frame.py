"""Gaussians that can be turned with the mouse, inside of a page."""

import html

from atoken.gaussians_atoken import Gaussians
from atoken.pages.gaussians import write_gaussian_page

from .places import Places


def gaussian_frame(gaussians: Gaussians, title: str, places: Places) -> str:
    """Gives HTML of a frame that shows Gaussians: a document of its own, which may run scripts and nothing else."""
    page = places.new() / "gaussians.html"
    write_gaussian_page(page, gaussians, title)
    source = html.escape(page.read_text(encoding="utf-8"), quote=True)
    return f'<iframe title="Gaussians" sandbox="allow-scripts" srcdoc="{source}" width="100%" height="480"></iframe>'
