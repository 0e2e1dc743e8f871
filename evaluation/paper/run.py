"""The whole paper in miniature: every table and figure measured, and a page that shows them beside the paper's rows.

    python -m atoken.evaluation.paper.run paper --data data

A run that was stopped or killed goes on: what is finished is kept, and inside a table the harness goes on, too.
"""

import time
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from .page import write_page
from .parts import MissingInput, Part, read_part, remove_unfinished, write_part
from .section import PaperSection
from .sections import SECTIONS
from .workspace import Counts, Workspace

DEFAULTS = Counts()


def make_part(workspace: Workspace, section: PaperSection) -> Part:
    """
    Gives the part of a section: the one that is there, if it is of the same inputs and whole, or a new one.

    What could not be measured at all is tried again every time.
    """
    folder, key = workspace.out / "parts" / section.name, workspace.key(section.name, section.files, section.media)
    kept = read_part(folder, key)
    if kept is not None and (kept.tables or kept.shown):
        return kept
    try:
        part = section.make(workspace)
    except (MissingInput, FileNotFoundError, ImportError, ValueError) as error:
        part = Part("Not measured.", missing=[str(error)])
    write_part(folder, part, key)
    return part


def make_all(workspace: Workspace, sections: tuple[PaperSection, ...] = SECTIONS) -> list[Part]:
    """
    Makes all parts that are not there, and the page.

    Args:
        workspace: where inputs and output are.
        sections: in the order of the page.
    """
    (workspace.out / "parts").mkdir(parents=True, exist_ok=True)
    remove_unfinished(workspace.out / "parts")
    parts = []
    for number, section in enumerate(sections, start=1):
        workspace.progress(f"[{number}/{len(sections)}] {section.title}")
        started = time.perf_counter()
        parts.append(make_part(workspace, section))
        missing = f"; missing: {'; '.join(parts[-1].missing)}" if parts[-1].missing else ""
        workspace.progress(f"[{number}/{len(sections)}] done in {time.perf_counter() - started:.0f} s{missing}")
    write_page(workspace.out, sections, parts)
    return parts


def main(
    out: Annotated[Path, typer.Argument(help="Folder of the page; a run that was stopped goes on in it.")],
    data: Annotated[Path, typer.Option(help="Where `make table` has collected media.")] = Path("data"),
    photos: Annotated[int, typer.Option(min=1, help="Held-out photos at most.")] = DEFAULTS.photos,
    clips: Annotated[int, typer.Option(min=1, help="Held-out clips at most.")] = DEFAULTS.clips,
    objects: Annotated[int, typer.Option(min=1, help="Held-out meshes at most.")] = DEFAULTS.objects,
    scenes: Annotated[int, typer.Option(min=16, max=480, help="Drawn images and clips of a task.")] = DEFAULTS.scenes,
    solids: Annotated[int, typer.Option(min=8, help="Drawn objects of a task.")] = DEFAULTS.solids,
    questions: Annotated[int, typer.Option(min=1, help="Questions of each kind.")] = DEFAULTS.questions,
    generated: Annotated[int, typer.Option(min=8, help="Images of each generator.")] = DEFAULTS.generated,
    shown: Annotated[int, typer.Option(min=1, help="Media whose reconstructions are shown.")] = DEFAULTS.shown,
) -> None:
    """Measure every table and figure of the paper in miniature, and write OUT/index.html."""
    given = locals()
    counts = Counts(**{each.name: given[each.name] for each in fields(Counts)})
    make_all(Workspace(out, data.resolve(), counts, progress=lambda line: print(line, flush=True)))
    print(out / "index.html")


if __name__ == "__main__":
    typer.run(main)
