"""What a section of the page is: a table or a figure of the paper, and what its real numbers need."""

from collections.abc import Callable
from dataclasses import dataclass

from .parts import Part
from .workspace import Workspace


@dataclass(frozen=True)
class Real:
    """Says what the paper's own numbers need: a command, data, and hours of a GPU with how they were counted."""

    command: str
    data: str
    hours: str


@dataclass(frozen=True)
class PaperSection:
    """
    Describes a table or a figure of the paper, in the order of the page.

    Attributes:
        name: of its folder, such as "table-4".
        title: as in the paper.
        make: measures; raises `MissingInput` or FileNotFoundError if an input is not there, ImportError if a package
            is not, ValueError if an input is damaged.
        real: what the paper's own numbers need.
        paper: number of the paper's table, or "figure 4" or "figure 7"; None where the paper has pictures alone.
        files: files and folders below the repository's root that decide the part, beside data.
        media: kinds of `Workspace.source` that decide it.
    """

    name: str
    title: str
    make: Callable[[Workspace], Part]
    real: Callable[[], Real]
    paper: int | str | None = None
    files: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
