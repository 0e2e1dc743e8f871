"""The numbers of an evaluation, each with everything it depends on, and their file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atoken.processing.atomic_files_atoken import atomic_file


@dataclass(frozen=True)
class Result:
    """
    Holds the numbers of one model on one set.

    Attributes:
        model, set: their names in the configuration.
        kind: "image", "video" or "object".
        task: one of `TASKS`, "answers" of a language model, or "report" of others' measures.
        numbers: JSON-ready, by measure; see the functions that are called `summarize`.
        protocol: JSON-ready description of everything that decides the numbers.
    """

    model: str
    set: str
    kind: str
    task: str
    numbers: dict[str, Any]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Holds all numbers of an evaluation, in the order of models and of their sets."""

    title: str
    results: list[Result]

    def by_set(self) -> dict[str, list[Result]]:
        """Groups the results, sets in the order in which they first occur."""
        groups: dict[str, list[Result]] = {}
        for result in self.results:
            groups.setdefault(result.set, []).append(result)
        return groups

    def to_dict(self) -> dict[str, Any]:
        """Gives what `results.json` holds."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """Writes `results.json`."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Reads `results.json`."""
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(values["title"], [Result(**result) for result in values["results"]])
