"""The page of the whole paper in miniature, made of its parts."""

from collections.abc import Sequence
from pathlib import Path

from atoken.pages.paper import PaperPage, TitledTable, write_paper_page

from ..number_tables import numbered_table
from .parts import Part
from .section import PaperSection

TITLE = "The AToken paper in miniature"
INTRODUCTION = (
    "Every table and figure of the paper with numbers or pictures, measured on this machine with the tiny checkpoints "
    "of the repository, beside the paper's own rows. The models, data and often the measures differ, so the numbers "
    "show that everything can be done again, and not how good the architecture is. Each section says what was measured "
    "and what the paper's own numbers would need."
)


def write_page(out: Path, sections: Sequence[PaperSection], parts: Sequence[Part]) -> None:
    """
    Writes index.html into `out`.

    Args:
        out: an existing folder.
        sections: of the paper, in their order.
        parts: what was made of each.
    """
    pages = [_page(section, part) for section, part in zip(sections, parts, strict=True)]
    write_paper_page(out / "index.html", TITLE, INTRODUCTION, pages)


def _page(section: PaperSection, part: Part) -> PaperPage:
    real = section.real()
    tables = list(part.tables)
    if section.paper is not None:
        tables.append(TitledTable("The paper's rows", numbered_table(section.paper)))
    return PaperPage(
        name=section.name,
        title=section.title,
        measured=part.measured,
        tables=tables,
        shown=part.shown,
        protocol=part.protocol,
        missing=part.missing,
        real={"Command": real.command, "Data": real.data, "GPU hours": real.hours},
    )
