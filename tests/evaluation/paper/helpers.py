"""Workspaces of few and small media."""

from pathlib import Path
from typing import Any

from PIL import Image

from atoken.evaluation.paper.parts import Part
from atoken.evaluation.paper.section import PaperSection, Real
from atoken.evaluation.paper.workspace import Counts, Workspace
from atoken.pages.paper import TitledTable
from atoken.pages.report import Table

from ...processing.samples import photo

FEW = Counts(photos=2, clips=1, objects=1, scenes=16, solids=8, questions=2, generated=8, shown=1)
REAL = Real("a command", "some data", "no hours")


def workspace(folder: Path, **options: Any) -> Workspace:
    """A workspace with two small photos, whose measures need no network."""
    for name in ("a.png", "b.png"):
        path = folder / "data/photos/heldout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray(photo(40, 56, ord(name[0]))).save(path)
    return Workspace(folder / "out", folder / "data", **{"counts": FEW, **options})


def section(name: str, make: Any, **options: Any) -> PaperSection:
    return PaperSection(name, f"{name}: a test", make, lambda: REAL, **options)


def part(text: str = "measured") -> Part:
    return Part(text, [TitledTable("ours", Table(["model"], [["a"]]))], protocol=["how"])
